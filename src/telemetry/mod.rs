//! Side stairs: typed events become a log line, metrics and spans.
