"""Drivers: code that talks to a hypervisor, storage or changer, behind Protocols."""
