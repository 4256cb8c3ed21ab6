# A package by name: a dependency of the private fits installs a `benchmarks` of its own,
# which would win over a folder that is none.
