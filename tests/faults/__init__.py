"""Faults on purpose: processes killed, disks full, files gone, clocks that jump: `make faults`, not `make test`.

Each ends in the bytes of an undisturbed run, after --resume where need be, or in one line, with all that was there
intact.
"""
