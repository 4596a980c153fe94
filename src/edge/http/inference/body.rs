//! The body of an inference call: any content type, unpacked within a bound, parted into JSON and binary.
//!
//! The bound holds for what arrives and for what it unpacks to, and unpacking stops at the bound: a few
//! bytes that would become gigabytes cost no more than an honest body.

use std::io::Read;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::response::HEADER_LEN;
use crate::edge::problem::{Code, Problem};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

impl Packing {
    /// Reads `Content-Encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
        if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
            return Ok(Self::Plain);
        }
        if encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip") {
            return Ok(Self::Gzip);
        }
        if encoding.eq_ignore_ascii_case(b"deflate") {
            return Ok(Self::Deflate);
        }
        let served = HeaderValue::from_static("gzip, deflate");
        let detail = "the content encoding is not served: use gzip or deflate, or none";
        Err(Problem::new(Code::UnsupportedMediaType, detail).header(header::ACCEPT_ENCODING, served))
    }
}

/// Unpacks a body of at most `len_max` bytes.
pub(super) fn unpack(bytes: Bytes, packing: Packing, len_max: usize) -> Result<Bytes, Problem> {
    match packing {
        Packing::Plain => Ok(bytes),
        Packing::Gzip => read(MultiGzDecoder::new(&*bytes), len_max),
        Packing::Deflate => read(ZlibDecoder::new(&*bytes), len_max),
    }
}

fn read(packed: impl Read, len_max: usize) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    let read = packed.take(len_max as u64 + 1).read_to_end(&mut unpacked);
    if read.is_err() {
        return Err(Problem::new(
            Code::MalformedJson,
            "the body is not what its content encoding says, or is cut short",
        ));
    }
    if unpacked.len() > len_max {
        let detail = format!("the body unpacks to more than {len_max} bytes: send less");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    Ok(unpacked.into())
}

/// A body in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts<'b> {
    /// JSON, and the binary tensors behind it.
    Json(&'b [u8], &'b [u8]),
    /// One tensor and nothing else.
    Tensor(&'b [u8]),
}

/// Parts a body by `Inference-Header-Content-Length`.
pub(super) fn part<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Parts<'b>, Problem> {
    let Some(value) = headers.get(HEADER_LEN) else { return Ok(Parts::Json(body, &[])) };
    let refused = |detail| Problem::new(Code::InvalidParameter, detail);
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let text = text.ok_or_else(|| refused("Inference-Header-Content-Length: expected a number of bytes"))?;
    let parts = text.parse().ok().and_then(|len| body.split_at_checked(len));
    match parts {
        Some(([], binary)) => Ok(Parts::Tensor(binary)),
        Some((json, binary)) => Ok(Parts::Json(json, binary)),
        None => Err(refused("Inference-Header-Content-Length: more than the body has")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed").into()
    }

    fn zlib(bytes: &[u8]) -> Bytes {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed").into()
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))])
    }

    #[test]
    fn bodies_are_unpacked_within_the_bound() {
        let check = |packed: Bytes, packing, len_max, expected: Result<usize, Code>| {
            let found = unpack(packed, packing, len_max);
            assert_eq!(found.map(|bytes| bytes.len()).map_err(|problem| problem.code()), expected, "{packing:?}");
        };
        let text = b"some text, some text, some text";
        check(gzip(text), Packing::Gzip, 31, Ok(31));
        check(zlib(text), Packing::Deflate, 31, Ok(31));
        check(gzip(text), Packing::Gzip, 30, Err(Code::BodyTooLarge));
        check(gzip(text).slice(..20), Packing::Gzip, 31, Err(Code::MalformedJson));
        check(gzip(text), Packing::Deflate, 31, Err(Code::MalformedJson));
        check(Bytes::new(), Packing::Gzip, 31, Err(Code::MalformedJson));
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 128 << 10);
        check(bomb, Packing::Gzip, 2 << 20, Err(Code::BodyTooLarge));
    }

    #[test]
    fn encodings_are_known_or_refused() {
        let check = |value, expected: Result<Packing, Code>| {
            let found = Packing::of(&headers("content-encoding", value)).map_err(|problem| problem.code());
            assert_eq!(found, expected, "{value}");
        };
        check("gzip", Ok(Packing::Gzip));
        check("GZIP", Ok(Packing::Gzip));
        check("deflate", Ok(Packing::Deflate));
        check("identity", Ok(Packing::Plain));
        check("br", Err(Code::UnsupportedMediaType));
        check("gzip, gzip", Err(Code::UnsupportedMediaType));
        assert_eq!(Packing::of(&HeaderMap::new()).ok(), Some(Packing::Plain));
    }

    #[test]
    fn header_length_out_of_range() {
        let body = b"{}1234";
        let check = |value, expected: Option<Parts<'_>>| {
            let found = part(&headers("inference-header-content-length", value), body);
            assert_eq!(found.ok(), expected, "{value}");
        };
        check("2", Some(Parts::Json(b"{}", b"1234")));
        check("6", Some(Parts::Json(body, b"")));
        check("0", Some(Parts::Tensor(body)));
        for wrong in ["7", "-1", "+2", "2.0", "x", "", "0x2", "18446744073709551616", "99999999999999999999999"] {
            check(wrong, None);
        }
        assert_eq!(part(&HeaderMap::new(), body).ok(), Some(Parts::Json(body, b"")));
    }
}
