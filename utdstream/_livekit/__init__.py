"""The LiveKit core behind the blocking facade: the only place of the SDK where asyncio lives.

Sessions use three files: `loop` (how another thread calls into the loop), `connection` (one life of one room) and
`subscribing` (the consumers of remote media). Behind `connection`:

- out: `publishing` (both slots) > `slot` (wished, allowed, actual) > `capture` (the device opens and closes),
  `feed` (a device's way into the core: `sources`, with `h264` for encoded cameras, or `platform_audio`),
  `audio_path` (sound's public way, and `direct_audio` past the loop, on the private pieces in `ffi`),
  `viewers` (does anybody watch), `sending_side` (the room as both slots see it);
- in: `subscribing` (which tracks) > `remote_sound` (one stream for all listeners) > `streams` or `direct_audio`
  (a track's frames out of the core) > `playout` (rings, mixing);
  `listening` (all of it on the speaker);
- both: `events` (the one table of them), `room_end` (requests raced against it), `joining` (one join of an
  identity at a time), `devices` (one device for several sessions), `snapshots`, `stats`, `errors`, `core_log`.

`processing` stands alone. What imports what is a layered contract in setup.cfg.
"""
