"""Remote driver: the hypervisor driver runs on the hypervisor's own machine, behind a pipe."""
