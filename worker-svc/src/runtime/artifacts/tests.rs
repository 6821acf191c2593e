use super::*;

/// Compiles a function and keeps its artifact.
fn keep(artifacts: &Artifacts, wat: &str) -> Hash {
    let code = wat::parse_str(wat).expect("well-formed");
    let hash = Hash::of(&code);
    let mut file = tempfile::tempfile().expect("a file");
    let artifact = artifacts.engine.precompile_module(&code).expect("compiles");
    file.write_all(&artifact).expect("writable");
    artifacts.load_new(&file).expect("loads");
    artifacts.store_and_load(&hash, file, |_| false);
    hash
}

const CODE: &str = r#"(module (func (export "f")))"#;

fn open(dir: &Path) -> anyhow::Result<Artifacts> {
    open_with(dir, u64::MAX)
}

fn open_with(dir: &Path, max_bytes: u64) -> anyhow::Result<Artifacts> {
    let metrics = Metrics::new(&prometheus::Registry::new(), "worker");
    Artifacts::open(&dir.join("cache"), Engine::default(), max_bytes, metrics)
}

/// A function that no other test and no other number has.
fn numbered(number: usize) -> String {
    format!(r#"(module (func (export "f") (result i32) (i32.const {number})))"#)
}

fn on_disk<const N: usize>(artifacts: &Artifacts, code: &[Hash; N]) -> [bool; N] {
    let found = code.each_ref().map(|code| artifacts.path(code).exists());
    assert_eq!(found, code.each_ref().map(|code| artifacts.contains(code)), "the index agrees");
    found
}

#[test]
fn damaged_artifacts_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    assert!(artifacts.load(&Hash::of(b"missing")).is_none());
    let code = keep(&artifacts, CODE);
    let path = artifacts.path(&code);
    let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
    assert_eq!((mode(&path), mode(&artifacts.dir)), (0o600, 0o700));
    assert!(open(dir.path()).expect("opens again").load(&code).is_some(), "another process finds it");

    let whole = fs::read(&path).expect("readable");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() - 1], &whole[..10], &[], &flipped] {
        fs::write(&path, damaged).expect("writable");
        assert!(artifacts.load(&code).is_none());
        assert!(!path.exists());
    }
}

#[test]
fn an_artifact_is_bound_to_its_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    let (code, other) = (keep(&artifacts, CODE), keep(&artifacts, "(module)"));
    fs::rename(artifacts.path(&other), artifacts.path(&code)).expect("ours");
    assert!(artifacts.load(&code).is_none(), "that of other code is refused");
    assert!(!artifacts.path(&code).exists());
    keep(&artifacts, CODE);
    assert!(artifacts.load(&code).is_some());
}

#[test]
fn an_artifact_that_cannot_be_stored_is_no_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    fs::remove_dir(&artifacts.dir).expect("empty");
    fs::write(&artifacts.dir, "in the way").expect("writable");
    let code = keep(&artifacts, CODE);
    assert!(artifacts.load(&code).is_none());
}

#[test]
fn what_is_not_used_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    let (code, other) = (keep(&artifacts, CODE), keep(&artifacts, "(module)"));
    artifacts.retain(|hash| *hash == code);
    assert!(artifacts.load(&code).is_some() && artifacts.load(&other).is_none());
    artifacts.remove(&code);
    artifacts.remove(&code);
    assert!(artifacts.load(&code).is_none());
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    for exposed in [dir.path().join("cache"), artifacts.dir] {
        fs::set_permissions(&exposed, Permissions::from_mode(0o777)).expect("ours");
        let error = open(dir.path()).err().expect("refused").to_string();
        assert!(error.starts_with("cache_dir: ") && error.contains("mode 777"), "{error}");
        fs::set_permissions(&exposed, Permissions::from_mode(0o700)).expect("ours");
    }
}

#[test]
fn the_least_recently_used_artifacts_make_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    let code = [0, 1, 2].map(|number| keep(&artifacts, &numbered(number)));
    let bytes = artifacts.size().1;
    let ago = |minutes: u64| SystemTime::now() - Duration::from_secs(60 * minutes);
    for (code, minutes) in code.iter().zip([30, 20, 40]) {
        let file = File::open(artifacts.path(code)).expect("is there");
        file.set_modified(ago(minutes)).expect("ours");
    }

    let artifacts = open_with(dir.path(), bytes).expect("opens");
    artifacts.maintain(&code[..1], |_| false);
    assert_eq!(on_disk(&artifacts, &code), [true; 3], "there is room for three");
    let written = fs::metadata(artifacts.path(&code[0])).and_then(|file| file.modified());
    assert!(written.expect("is there") > ago(1), "that it was used survives a restart");
    let new = keep(&artifacts, &numbered(3));
    assert_eq!(on_disk(&artifacts, &code), [true, true, false]);
    assert!(artifacts.contains(&new) && artifacts.size().1 <= bytes && artifacts.is_full(1));

    let artifacts = open_with(dir.path(), bytes * 2 / 3).expect("opens with a smaller bound");
    artifacts.maintain(&[], |hash| *hash == code[1]);
    assert_eq!(on_disk(&artifacts, &code), [false, true, false], "what is in use stays");
    assert_eq!(artifacts.take_changed().len(), 3, "two were found, and one has gone");
}

#[test]
fn an_artifact_larger_than_the_bound_removes_no_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    let small = keep(&artifacts, CODE);
    let artifacts = open_with(dir.path(), artifacts.size().1).expect("opens");
    let data = "x".repeat(1 << 20);
    let large = keep(&artifacts, &format!(r#"(module (memory 16) (data (i32.const 0) "{data}"))"#));
    assert_eq!(on_disk(&artifacts, &[small, large]), [true, false]);
}

#[test]
fn what_others_have_changed_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let [one, other] = [(), ()].map(|()| open(dir.path()).expect("opens"));
    let code = [0, 1].map(|number| keep(&other, &numbered(number)));
    other.remove(&code[0]);
    assert!(!one.contains(&code[1]));
    one.maintain(&[], |_| false);
    assert_eq!(on_disk(&one, &code), [false, true]);
    assert_eq!(one.size(), other.size());
    fs::remove_file(one.path(&code[1])).expect("ours");
    assert!(one.load(&code[1]).is_none());
    assert_eq!(on_disk(&one, &code), [false, false]);
}

#[test]
fn files_of_killed_workers_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let artifacts = open(dir.path()).expect("opens");
    let [new, old] = ["new", "old"].map(|name| artifacts.dir.join(name).with_extension(TEMPORARY));
    for path in [&new, &old] {
        fs::write(path, "some").expect("writable");
    }
    let file = File::open(&old).expect("is there");
    file.set_modified(SystemTime::now() - 2 * ABANDONED_AGE).expect("ours");
    open(dir.path()).expect("opens");
    assert_eq!((new.exists(), old.exists()), (true, false), "another worker may write it now");
}
