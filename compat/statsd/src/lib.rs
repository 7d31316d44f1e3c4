//! How StatsD behaves: packet grammar, dialects, the aggregator, admin replies.
