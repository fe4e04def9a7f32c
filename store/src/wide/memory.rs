//! The reference model of [`super::Wide`]: a map in memory, durable for as long as the process lives.
