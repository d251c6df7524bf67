"""libvirt driver: QEMU machines, running or stopped."""
