"""The media server as the engine sees it: its rooms, its tokens, its people."""
