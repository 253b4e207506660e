"""What depends on the machine: number formats, threads, memory plans, and running out of memory."""
