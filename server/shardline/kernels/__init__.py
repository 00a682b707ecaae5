"""Triton kernels of the GPU path, one idea a file.

Every module holds a kernel and the one function that launches it. A kernel never allocates, never
reads a value back to the host and takes every size that changes between steps as an argument that
is not specialised, so one compiled variant serves all batch sizes. All of them run under CUDA graph
capture, on any card that Triton supports, and in Triton's interpreter on the CPU.

What only newer cards offer (programmatic dependent launch, bulk tensor loads) is asked from
`target.KernelTarget`; nothing here needs it.
"""
