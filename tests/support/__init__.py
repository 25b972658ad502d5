"""What the tests stand on: real processes, real tracers, a real PostgreSQL, and the simulators."""
