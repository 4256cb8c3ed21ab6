"""Steps 3 and 4: replays to drift per segment and window, and the request types behind it."""
