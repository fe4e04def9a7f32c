//! From points to durable segments, in the order that design §6 fixes: catalog rows, marks, segments.
