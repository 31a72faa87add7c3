"""A process that codes and decodes batches: pickled questions come in, pickled answers go out. It
ends when its input does, so that it does not outlive the process that started it."""

from __future__ import annotations

import os
import pickle
import sys

from pipelines.output.formats.coded.jobs import Job
from tokenizer.coding.base import Predictor
from tokenizer.errors import CodecshardsError


def main() -> None:
    """Answer until there are no more questions. Ctrl-C is for the process that asks."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    predictor: Predictor | None = None
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object = None
        try:
            if isinstance(question, Predictor):
                predictor = question
                _one_thread()
            elif isinstance(question, Job) and predictor is not None:
                answer = question.run(predictor)
        except CodecshardsError as error:
            answer = error
        try:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:  # nobody is there to be told
            os._exit(0)


def _one_thread() -> None:
    """There is a process for every core."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
