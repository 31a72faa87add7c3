"""Kernels in Triton, each of which does in one pass over memory what torch's operations do in many.

    convolve    normalise, ELU and pad what comes in; an implicit product with the taps; bias; the
                mean and spread of what goes out
    moments     those of a row's tiles together: the next layer's scale and shift
    join        normalise and add the two branches of a residual block, and ELU
    recur       a step of an LSTM's first layer and the step before of its second
    quantize    every level of residual vector quantization

Signals are `[rows, samples, channels]`: the channels that a product adds up lie side by side at any
stride. Every row has a length of its own; of a tile beyond its end nothing is computed.

Products on tensor cores have 11 bits of mantissa. "exact" takes each number in two such parts and
three products of them ("3xTF32", Ootomo and Yokota, "Recovering single precision accuracy from
Tensor Cores", 2022), and adds few of them there at a time, since tensor cores cut off where float32
rounds; the sums are added up in float32.

Triton's wheel comes with torch's CUDA builds for Linux.
"""
