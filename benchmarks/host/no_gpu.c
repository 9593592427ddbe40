// Copyright (c) mmnorm contributors. All rights reserved.
// A CUDA driver for machines without a GPU: it takes launches, counts them
// and runs nothing. Triton's launcher needs no other function.
#include "cuda.h"

static long taken = 0;

long launches_taken(void) { return taken; }

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function,
                          void **parameters, void **extra) {
  taken += 1;
  return CUDA_SUCCESS;
}

// The header renames functions to their newer versions.
#undef cuPointerGetAttribute
CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute,
                               CUdeviceptr pointer) {
  *(CUdeviceptr *)value = pointer;  // memory of the host, as on the device
  return CUDA_SUCCESS;
}

#undef cuCtxGetCurrent
CUresult cuCtxGetCurrent(CUcontext *context) {
  *context = (CUcontext)1;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) { return CUDA_SUCCESS; }

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  return cuCtxGetCurrent(context);
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute name,
                            int value) {
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = "no error";
  return CUDA_SUCCESS;
}
