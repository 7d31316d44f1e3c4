//! Whisper files: header, archives, reading and writing.
