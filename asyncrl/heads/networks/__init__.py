"""Networks over one flat vector: layers, their compiled kernels, and the same as torch modules.

    layers        layers as compiled functions of arrays
    kernels       the MLP actor-critic, made of them: forward and written-out gradient
    modules       the same and others as torch modules over the same memory
    greedy_modules    a learned policy as one torch module, for export
    structures, compact   layers of few parameters, and the dense vector that they stand for
    virtual_batch normalisation by a fixed batch
    wide          networks with layers so wide that FFT is faster
    towers        policies and critics of algorithms with a replay
    devices       where their numbers live: host, GPU
"""
