//! Tidemill's queries over HTTP.
