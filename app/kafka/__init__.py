"""Kafka at the rim: embedded Faust, ordered acks, bounded tasks, an own producer, topics, lag."""
