"""What depends on the machine: number formats, threads, memory plans, and what happens when memory
runs out.
"""
