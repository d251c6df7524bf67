"""Machines of QEMU under libvirt, running or stopped."""
