"""FFmpeg's names of containers and codecs, by what can be told of them."""

from __future__ import annotations

from typing import Any

from av.codec.context import Flags2

FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,matroska,"
    "mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,ogg,oma,qcp,rm,shn,sox,tak,truehd,tta,"
    "voc,w64,wav,webm,wv"
)
"""demuxers that may open a file; a playlist (hls, concat) would read other local files"""
EXACT = {"flac", "wv", "tta", "ape"}
"""containers that count samples"""
CLOSE = {"mov,mp4,m4a,3gp,3g2,mj2", "ogg", "avi"}
"""containers that time-stamp each track's end"""
TOGETHER = {"matroska,webm", "asf", "flv"}
"""containers that say how long all tracks are together"""
UNTIMED = {"wav", "w64", "aiff", "caf", "au", "voc", "iff", "nistsphere", "sox"}
"""containers whose samples lie in a row, without time stamps"""
SUMMED = {
    "flac",
    "wavpack",
    "tta",
    "ape",
    "tak",
    "ac3",
    "eac3",
    "truehd",
    "mlp",
    "mp3",
    "mp3float",
    "mp2",
    "mp2float",
}
"""codecs whose packets carry checksums, which FFmpeg looks at only when asked"""
FRAMED = {"ac3", "eac3", "mp3", "mp3float", "mp2", "mp2float"}
"""codecs whose frames say how long they are"""


def set_up(context: Any, container: str) -> None:
    """Have a decoder do what it does not by itself in this container."""
    if context.name in SUMMED:
        context.options = {"err_detect": "crccheck+explode"}
    if context.name == "alac" and container == "caf":
        # By CAF's table FFmpeg takes off the end of a whole last packet; of ALAC that one is no
        # longer than its sound.
        context.flags2 |= Flags2.skip_manual
