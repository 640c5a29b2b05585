// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Each way in which a header can lie, by name, and then whatever chance finds.

use proptest::prelude::*;

use super::*;

/// Reads a whole file as the daemon does, which must see the same as a backend that maps it.
fn parse(file: &[u8]) -> Result<Header, Refusal> {
    let mapped = super::parse(file, file.len() as u64);
    let read = read(file, file.len() as u64).unwrap();
    assert_eq!(mapped.as_ref().err(), read.as_ref().err());
    mapped
}

/// A file with the given JSON, correctly announced, and `data` zeros.
fn file(json: &str, data: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// The JSON of one tensor.
fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

/// The reason why a file with these entries is refused.
fn damage(entries: &[String], data: usize) -> String {
    damage_of(&file(&format!("{{{}}}", entries.join(",")), data))
}

fn damage_of(file: &[u8]) -> String {
    match parse(file) {
        Err(Refusal::Damaged(reason)) => reason,
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn a_sound_file_is_accepted() {
    let json = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{},{},{}}}   "#,
        entry("matrix", "F32", "[2,3]", 0, 24),
        entry("scalar", "F16", "[]", 24, 26),
        entry("nothing", "F32", "[0,7]", 26, 26),
    );
    let header = parse(&file(&json, 26)).unwrap();
    assert_eq!(header.tensors.keys().collect::<Vec<_>>(), ["matrix", "nothing", "scalar"]);
    assert_eq!(header.tensors["matrix"].shape, [2, 3]);
    assert_eq!(header.data_start, 8 + json.len());
}

#[test]
fn a_file_without_tensors_is_accepted() {
    assert!(parse(&file("{}", 0)).unwrap().tensors.is_empty());
}

#[test]
fn a_file_shorter_than_the_length_field_is_refused() {
    for length in 0..8 {
        assert!(damage_of(&vec![0; length]).contains("shorter than eight bytes"));
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_without_believing_it() {
    for length in [MAX_HEADER_BYTES + 1, 1 << 40, u64::MAX] {
        let mut file = file("{}", 0);
        file[..8].copy_from_slice(&length.to_le_bytes());
        assert!(damage_of(&file).contains("more than the"), "{length}");
    }
}

#[test]
fn a_file_cut_within_its_header_is_refused() {
    let whole = file(&format!("{{{}}}", entry("a", "U8", "[4]", 0, 4)), 4);
    for length in 8..whole.len() - 4 {
        assert!(damage_of(&whole[..length]).contains("ends within its header"), "{length}");
    }
}

#[test]
fn a_file_cut_within_its_data_is_refused() {
    assert!(damage(&[entry("a", "U8", "[4]", 0, 4)], 3).contains("4 bytes of data, 3 are there"));
}

#[test]
fn data_that_no_tensor_owns_is_refused_wherever_it_lies() {
    let (first, second) = (entry("a", "U8", "[4]", 0, 4), entry("b", "U8", "[4]", 5, 9));
    assert!(damage(&[first.clone(), second], 9).contains("do not fit"), "a gap");
    assert!(damage(&[entry("a", "U8", "[4]", 1, 5)], 5).contains("do not fit"), "a gap in front");
    assert!(damage(&[first], 5).contains("4 bytes of data, 5 are there"), "a tail");
    assert!(damage_of(&file("{}", 1)).contains("0 bytes of data, 1 are there"), "nothing but a tail");
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let first = entry("a", "U8", "[4]", 0, 4);
    assert!(damage(&[first.clone(), entry("b", "U8", "[4]", 2, 6)], 6).contains("do not fit"));
    assert!(damage(&[first, entry("b", "U8", "[4]", 0, 4)], 4).contains("do not fit"));
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused() {
    assert!(damage(&[entry("a", "U8", "[4]", 4, 0)], 4).contains("do not fit"));
}

#[test]
fn a_range_beyond_the_file_is_refused() {
    assert!(damage(&[entry("a", "U8", "[4000000000]", 0, 4_000_000_000)], 4).contains("are there"));
    let end = u64::MAX;
    assert!(damage(&[entry("a", "U8", &format!("[{end}]"), 0, end)], 4).contains("do"));
}

#[test]
fn a_shape_whose_product_overflows_is_refused() {
    let two_to_the_64 = "[4294967296,4294967296]";
    assert!(damage(&[entry("a", "U8", two_to_the_64, 0, 0)], 0).contains("overflow"));
    let bits_overflow = "[4611686018427387904]";
    assert!(damage(&[entry("a", "F32", bits_overflow, 0, 0)], 0).contains("overflow"));
    let zero_hides_it = "[4294967296,4294967296,0]";
    assert!(damage(&[entry("a", "U8", zero_hides_it, 0, 0)], 0).contains("overflow"));
}

#[test]
fn a_range_of_another_length_than_the_shape_says_is_refused() {
    assert!(damage(&[entry("a", "F32", "[2]", 0, 4)], 4).contains("do not fit"));
    assert!(damage(&[entry("a", "F16", "[2]", 0, 8)], 8).contains("do not fit"));
    assert!(damage(&[entry("a", "F4", "[1]", 0, 1)], 1).contains("do not fit"), "half a byte");
}

#[test]
fn a_name_that_appears_twice_is_refused() {
    let entries = [entry("a", "U8", "[4]", 0, 4), entry("a", "U8", "[4]", 4, 8)];
    assert!(damage(&entries, 8).contains(r#"two tensors are named "a""#));
    let same = [entry("a", "U8", "[4]", 0, 4), entry("a", "U8", "[4]", 0, 4)];
    assert!(damage(&same, 4).contains("two tensors are named"), "also when it says the same twice");
    let spelt_otherwise = [entry("a", "U8", "[4]", 0, 4), entry("\\u0061", "U8", "[4]", 4, 8)];
    assert!(damage(&spelt_otherwise, 8).contains("two tensors are named"));
}

#[test]
fn an_unknown_number_format_is_refused_by_name() {
    assert!(damage(&[entry("a", "F99", "[4]", 0, 4)], 4).contains("F99"));
}

#[test]
fn numbers_that_are_no_sizes_are_refused() {
    for shape in ["[-1]", "[1.5]", "[1e3]", "[18446744073709551616]", "[\"4\"]", "null", "4"] {
        assert!(damage(&[entry("a", "U8", shape, 0, 4)], 4).contains("header is wrong"), "{shape}");
    }
}

#[test]
fn too_many_dimensions_are_refused() {
    assert!(parse(&file(&format!("{{{}}}", entry("a", "U8", "[1,1,1,1,1,1,1,4]", 0, 4)), 4)).is_ok());
    assert!(damage(&[entry("a", "U8", "[1,1,1,1,1,1,1,1,4]", 0, 4)], 4).contains("9 dimensions"));
}

#[test]
fn too_many_tensors_are_refused() {
    let entries: Vec<_> = (0..=MAX_TENSORS).map(|i| entry(&i.to_string(), "U8", "[0]", 0, 0)).collect();
    assert!(parse(&file(&format!("{{{}}}", entries[1..].join(",")), 0)).is_ok());
    assert!(damage(&entries, 0).contains("more than 65536 tensors"));
}

#[test]
fn an_endless_name_is_refused() {
    assert!(damage(&[entry(&"n".repeat(513), "U8", "[0]", 0, 0)], 0).contains("name has 513 bytes"));
}

#[test]
fn a_header_that_is_no_json_object_is_refused() {
    for json in ["", "[]", "null", "{", r#"{"a":1}"#, r#"{"a":{}}"#, "{} {}", "\u{0}\u{0}"] {
        assert!(damage_of(&file(json, 0)).contains("header is wrong"), "{json:?}");
    }
    let mut not_utf8 = file("xx", 0);
    not_utf8[8] = 0xff;
    assert!(damage_of(&not_utf8).contains("header is wrong"));
}

#[test]
fn brackets_nested_a_million_deep_do_not_exhaust_the_stack() {
    let deep = format!(r#"{{"__metadata__":{}}}"#, "[".repeat(1_000_000));
    assert!(damage_of(&file(&deep, 0)).contains("header is wrong"));
    let deep = format!(r#"{{"a":{}}}"#, r#"{"shape":"#.repeat(1_000_000));
    assert!(damage_of(&file(&deep, 0)).contains("header is wrong"));
}

#[test]
fn formats_that_carry_programs_are_named() {
    let tar: Vec<u8> = [vec![0; 257], b"ustar".to_vec(), vec![0; 250]].concat();
    for (bytes, word) in [
        (&b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl"[..], "zip"),
        (b"\x80\x02}q\x00X\x06\x00\x00\x00weight", "pickle"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}", "pickle"),
        (&tar, "tar"),
    ] {
        assert!(matches!(parse(bytes), Err(Refusal::Unsafe(format)) if format.contains(word)), "{word}");
    }
}

#[test]
fn a_sound_file_that_begins_like_a_pickle_is_accepted() {
    let json = format!("{{}}{}", " ".repeat(0x280 - 2));
    let file = file(&json, 0);
    assert_eq!(file[..2], [0x80, 2]);
    assert!(parse(&file).is_ok());
}

#[test]
fn files_of_other_kinds_are_called_what_they_are() {
    for (file, word) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..], "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Please log in", "web page"),
        (b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00", "GGUF"),
    ] {
        assert!(matches!(parse(file), Err(Refusal::Foreign(what)) if what.contains(word)), "{word}");
    }
}

#[test]
fn short_notes_are_kept_and_everything_else_beside_the_tensors_is_passed_over() {
    let long = "x".repeat(1025);
    let json = format!(
        r#"{{"__metadata__":{{"modelspec.prediction_type":"v","long":"{long}","number":1,"deep":{{"a":["b"]}},
            "list":["c"],"no":null,"yes":true,"{long}":"name"}}}}"#
    );
    let notes = parse(&file(&json, 0)).unwrap().notes;
    assert_eq!(notes.into_iter().collect::<Vec<_>>(), [("modelspec.prediction_type".into(), "v".into())]);
    for other in ["[1]", "1", "-1", "1.5", "null", "true", r#""text""#] {
        let notes = parse(&file(&format!(r#"{{"__metadata__":{other}}}"#), 0)).unwrap().notes;
        assert!(notes.is_empty(), "{other}");
    }
    let many: Vec<_> = (0..2000).map(|i| format!(r#""{i}":"""#)).collect();
    let json = format!(r#"{{"__metadata__":{{{}}}}}"#, many.join(","));
    assert_eq!(parse(&file(&json, 0)).unwrap().notes.len(), 1024);
}

/// What must hold of every file that is accepted: its tensors tile its data.
fn check_tiling(file: &[u8], header: &Header) {
    let mut ranges: Vec<_> = header.tensors.values().map(|info| info.data_offsets).collect();
    ranges.sort_unstable();
    let mut at = 0;
    for (start, end) in ranges {
        assert_eq!(start, at);
        assert!(end >= start);
        at = end;
    }
    assert_eq!(header.data_start + at, file.len());
    for info in header.tensors.values() {
        let bits = info.shape.iter().product::<usize>() * info.dtype.bitsize();
        assert_eq!(bits, 8 * (info.data_offsets.1 - info.data_offsets.0));
    }
}

/// Entries that are near enough to sound ones to get far.
fn plausible_entry() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "", "__metadata__"]);
    let dtype = prop::sample::select(vec!["U8", "F16", "F32", "I64", "F4", "X"]);
    let size = prop::sample::select(vec![0, 1, 2, 4, 1 << 32, u64::MAX]);
    let shape = prop::collection::vec(size.clone(), 0..4);
    let offset = prop_oneof![0_u64..17, size];
    (name, dtype, shape, offset.clone(), offset)
        .prop_map(|(name, dtype, shape, start, end)| entry(name, dtype, &format!("{shape:?}"), start, end))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(header) = parse(&bytes) {
            check_tiling(&bytes, &header);
        }
    }

    #[test]
    fn arbitrary_text_as_header_never_panics(json in ".{0,200}", data in 0_usize..20) {
        let bytes = file(&json, data);
        if let Ok(header) = parse(&bytes) {
            check_tiling(&bytes, &header);
        }
    }

    #[test]
    fn plausible_headers_are_refused_or_tile_the_data(
        entries in prop::collection::vec(plausible_entry(), 0..4),
        data in 0_usize..17,
    ) {
        let bytes = file(&format!("{{{}}}", entries.join(",")), data);
        if let Ok(header) = parse(&bytes) {
            check_tiling(&bytes, &header);
        }
    }

    #[test]
    fn a_mutated_file_is_refused_or_tiles_the_data(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let entries = [entry("a", "F32", "[2,3]", 0, 24), entry("b", "F16", "[4]", 24, 32)];
        let mut bytes = file(&format!("{{{}}}", entries.join(",")), 32);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(header) = parse(&bytes) {
            check_tiling(&bytes, &header);
        }
    }
}
