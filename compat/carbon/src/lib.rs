//! How carbon behaves: plaintext and pickle points, storage rules, white and black lists.
