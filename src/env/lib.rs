//! The doors to the outside: clock, randomness, file system, CPU pool.
