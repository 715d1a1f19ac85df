//! Stand-ins and helpers for the end-to-end tests.
