"""A hypervisor whose driver runs at the far end of a pipe, on the platform's own machine."""
