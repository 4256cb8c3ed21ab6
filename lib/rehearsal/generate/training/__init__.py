"""From the log to fitted generators: staging, feeding, training on the executors."""
