"""Users in numbers: daily counts of the log, and the features made of them."""
