//! Damaged files: an error that names the file, never a panic and never other values.

use super::*;

/// A few streams of every kind of column.
fn sample() -> Vec<Stream> {
    vec![
        floats(1, 0, &(0..40).map(|i| f64::from(i) / 4.0).collect::<Vec<_>>()),
        floats(2, 0, &[1.0, f64::NAN, 0.1 + 0.2]),
        stream(2, 1, Column::Integer((0..30).map(|i| i * i).collect())),
        stream(3, 4, texts(&["on", "off", "on"])),
    ]
}

fn written(dir: &Path) -> SstPaths {
    write(dir, "d", small(), &sample(), 100).unwrap();
    SstPaths::new(dir, "d").unwrap()
}

/// Opens and reads everything; an error must be `Corrupt` and name `path`.
fn expect_error(dir: &Path, path: &Path, what: &str) {
    let result = SstReader::open(&Env::real(), dir, "d").and_then(|sst| {
        let mut cursor = sst.cursor();
        for entry in sst.entries() {
            let entry = entry?;
            cursor.read_all(&entry, &mut Vec::new(), &mut Column::new(entry.field_type()))?;
        }
        Ok(sst)
    });
    // Bytes that no read touches (page headers of columns without values) are found by verify.
    let error = result.and_then(|sst| sst.verify()).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.message().contains(name), "{what}: {error}");
}

/// Opens and reads everything; an error must be `Corrupt`, and without one the values must be right.
fn expect_error_or_truth(dir: &Path, what: &str) {
    let Ok(sst) = SstReader::open(&Env::real(), dir, "d") else { return };
    let mut cursor = sst.cursor();
    for (entry, s) in sst.entries().zip(sample()) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt, "{what}: {e}");
                return;
            }
        };
        let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
        match cursor.read_all(&entry, &mut times, &mut values) {
            Ok(()) => {
                assert_eq!(times, s.times_ns, "{what}");
                assert_same(&values, &s.values, what);
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "{what}: {e}"),
        }
    }
}

#[test]
fn every_flipped_byte_of_the_index_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).index;
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= mask;
            std::fs::write(&path, &bad).unwrap();
            let error = SstReader::open(&Env::real(), dir.path(), "d").err();
            let error = error.unwrap_or_else(|| panic!("byte {at} ^ {mask:#x} is not found"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
            assert!(error.message().contains("points-d.idx"), "byte {at}: {error}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_large_index_hurts_its_piece_alone() {
    let dir = tempfile::tempdir().unwrap();
    let streams: Vec<_> = (0..80).map(|n| floats(n, 0, &[f64::from(n), 0.5])).collect();
    write(dir.path(), "d", small(), &streams, 100).unwrap();
    let path = SstPaths::new(dir.path(), "d").unwrap().index;
    let good = std::fs::read(&path).unwrap();
    let open = || SstReader::open(&Env::real(), dir.path(), "d");
    assert_eq!(open().unwrap().pieces().len(), 3);
    let (mut whole, mut parts) = (0, 0);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x11;
        std::fs::write(&path, &bad).unwrap();
        let error = match open() {
            Err(e) => {
                whole += 1;
                e
            }
            Ok(sst) => {
                parts += 1;
                let found: Vec<_> = (0..80).map(|n| sst.streams(series(n))).collect();
                let lost = found.iter().filter(|found| found.is_err()).count();
                assert!([32, 16].contains(&lost), "byte {at}: {lost} series lost");
                assert!(sst.verify().is_err(), "byte {at}");
                assert_eq!(sst.entries().filter(Result::is_err).count(), 1, "an error ends them");
                found.into_iter().find_map(Result::err).unwrap()
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.message().contains("points-d.idx"), "byte {at}: {error}");
    }
    assert!(whole > 20 + 29 * (4 + 3 * 14) && parts > 500, "{whole} {parts}");
}

#[test]
fn pieces_are_kept_up_to_a_bound_and_leave_with_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let streams: Vec<_> = (0..320).map(|n| floats(n, 0, &[f64::from(n)])).collect();
    write(dir.path(), "d", small(), &streams, 100).unwrap();
    let env = Env::real();
    let pages = PageCache::new(0);
    let one = {
        let pieces = Pieces::new(1 << 20);
        let handles = Handles::new(env.fs.clone(), 4);
        let sst = SstReader::open_shared(&env, &handles, &pieces, &pages, dir.path(), "d").unwrap();
        assert_eq!((sst.streams(series(5)).unwrap().len(), pieces.loads()), (1, 1));
        pieces.bytes()
    };
    let (pieces, handles) = (Pieces::new(3 * one), Handles::new(env.fs.clone(), 4));
    let sst = SstReader::open_shared(&env, &handles, &pieces, &pages, dir.path(), "d").unwrap();
    assert_eq!(pieces.loads(), 0, "opening loads none");
    check_contents(&sst, &streams);
    assert!(pieces.bytes() <= 3 * one && pieces.evictions() >= 7, "{} of {one}", pieces.bytes());
    let loads = pieces.loads();
    assert_eq!((sst.streams(series(319)).unwrap().len(), pieces.loads()), (1, loads), "used last");
    drop(sst);
    assert_eq!(pieces.bytes(), 0);
}

#[test]
fn every_cut_of_the_index_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).index;
    let good = std::fs::read(&path).unwrap();
    for len in 0..good.len() {
        std::fs::write(&path, &good[..len]).unwrap();
        let error = SstReader::open(&Env::real(), dir.path(), "d").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {len}: {error}");
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(SstReader::open(&Env::real(), dir.path(), "d").is_err(), "a byte too many");
}

#[test]
fn an_index_whose_checksums_were_made_to_fit_does_not_panic() {
    // The header's checksum is recomputed: what remains are the tests of meaning.
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).index;
    let good = std::fs::read(&path).unwrap();
    let (prefix, section, sections) = (20, 29, 4 + 14);
    for at in 0..good.len() {
        for mask in [0x01, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= mask;
            let mut offset = prefix + section * sections;
            for i in 0..sections {
                let entry = prefix + i * section;
                let stored = u64::from_le_bytes(good[entry + 8..entry + 16].try_into().unwrap()) as usize;
                if (offset..offset + stored).contains(&at) {
                    let crc = crc32c::crc32c(&bad[offset..offset + stored]);
                    bad[entry + 24..entry + 28].copy_from_slice(&crc.to_le_bytes());
                }
                offset += stored;
            }
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bad[..16]), &bad[prefix..prefix + section * sections]);
            bad[16..20].copy_from_slice(&crc.to_le_bytes());
            std::fs::write(&path, &bad).unwrap();
            // May open (the order among files has no meaning to test), must not panic.
            if let Ok(sst) = SstReader::open(&Env::real(), dir.path(), "d") {
                let mut cursor = sst.cursor();
                for entry in sst.entries().flatten() {
                    let _ = cursor.read_all(&entry, &mut Vec::new(), &mut Column::new(entry.field_type()));
                }
                let _ = sst.verify();
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_the_points_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).points;
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        expect_error_or_truth(dir.path(), &format!("byte {at}"));
        expect_error(dir.path(), &path, &format!("byte {at}"));
    }
}

#[test]
fn files_of_another_sst_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let paths = written(dir.path());
    let mut other = sample();
    // Same rows, same length of every file perhaps, but other values.
    other[2] = stream(2, 1, Column::Integer((0..30).map(|i| i * i + 1).collect()));
    write(dir.path(), "other", small(), &other, 100).unwrap();
    let others = SstPaths::new(dir.path(), "other").unwrap();
    std::fs::copy(&others.points, &paths.points).unwrap();
    expect_error(dir.path(), &paths.points, "points of another SST");
}

#[test]
fn missing_and_damaged_names_are_found_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let paths = written(dir.path());
    for path in [&paths.series, &paths.fields] {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 4;
        std::fs::write(path, &bad).unwrap();
        expect_error(dir.path(), path, "a flipped bit");
        std::fs::write(path, &good[..good.len() - 1]).unwrap();
        expect_error(dir.path(), path, "a byte short");
        std::fs::remove_file(path).unwrap();
        expect_error(dir.path(), path, "missing");
        std::fs::write(path, &good).unwrap();
    }
    SstReader::open(&Env::real(), dir.path(), "d").unwrap().verify().unwrap();
    std::fs::remove_file(&paths.points).unwrap();
    expect_error(dir.path(), &paths.points, "no points");
}
