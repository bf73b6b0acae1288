//! Kernels and their modules.
