//! Headers of a record, whatever bytes they are.
//!
//! The client library's own reader panics on a name that is not UTF-8, and anybody may write one.

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as native;
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};

/// One header: its name, with what is not UTF-8 replaced, and its value.
pub type NamedValue = (String, Option<Vec<u8>>);

/// Copies the headers of a record, in their order.
#[must_use]
#[expect(unsafe_code, reason = "the library's safe reader panics on names that are not UTF-8")]
pub fn read(message: &BorrowedMessage<'_>) -> Vec<NamedValue> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives as long as its borrow; librdkafka keeps the headers with it.
    let found = unsafe { native::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return Vec::new();
    }
    let mut read = Vec::new();
    loop {
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` is valid as above; the three are written only when there is such a header.
        let got = unsafe {
            native::rd_kafka_header_get_all(headers, read.len(), &raw mut name, &raw mut value, &raw mut len)
        };
        if got != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return read;
        }
        // SAFETY: names end with a zero; a value that is not null has `len` bytes. Both are copied at once.
        let (name, value) = unsafe {
            let bytes = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), len).to_vec());
            (CStr::from_ptr(name).to_string_lossy().into_owned(), bytes)
        };
        read.push((name, value));
    }
}

/// Makes headers for a record to send.
#[must_use]
pub fn written(headers: &[NamedValue]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (name, value)| {
        owned.insert(Header { key: &name.replace('\0', ""), value: value.as_deref() })
    })
}
