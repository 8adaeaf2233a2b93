"""The tasks, one module per queue; `misc` has no route and uses the default queue."""
