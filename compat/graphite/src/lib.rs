//! How graphite-web behaves: targets, times, globs, render functions, answers.
