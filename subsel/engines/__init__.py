"""Where kernels run: `local` in this process' memory. Drivers know only the verbs of `base.Engine`."""
