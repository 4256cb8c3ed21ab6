"""What a generator must show before its requests are used."""
