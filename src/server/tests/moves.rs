//! Moves onto a name that is taken.

use super::*;
use std::fs;

/// A destination with two files, and the step that moves the one onto the other.
fn one_onto_other(bytes: [&[u8]; 2]) -> (Dest, Step) {
    let mut dest = Dest::plain();
    let hashes = [dest.put_new("from", bytes[0]), dest.put_new("to", bytes[1])];
    let expect = |name, hash| match dest.basis(name, hash) {
        BasisRef::File { leaf, .. } => Expect::Leaf(leaf),
        other => panic!("{other:?}"),
    };
    let (moved, replaced) = (expect("from", hashes[0]), expect("to", hashes[1]));
    (dest, Step::Move { from: path("from"), to: path("to"), moved, replaced })
}

fn make(dest: &mut Dest, step: Step) -> Result<(), Refusal> {
    crate::server::commit::commit(&dest.shore, &mut dest.stage, vec![step], &[]).results.remove(0)
}

#[test]
fn a_file_moves_over_another_and_its_hash_stays_known() {
    let (mut dest, step) = one_onto_other([b"moves", b"is replaced"]);
    assert_eq!(make(&mut dest, step), Ok(()));
    assert!(!dest.at("from").exists());
    assert_eq!(fs::read(dest.at("to")).unwrap(), b"moves");
    let stat = dest.shore.destination.root().stat(&path("to")).unwrap().unwrap();
    assert_eq!(dest.shore.known.known(&stat), Some(ContentHash::of(b"moves")));
    let gone = dest.at(".strait/gone");
    assert_eq!(fs::read_dir(gone).unwrap().count(), 0, "nothing was taken away first");
}

/// To the kernel a rename between two names of one file is done before it began, and both stay.
#[test]
fn of_two_names_of_one_file_one_is_left() {
    let (mut dest, step) = one_onto_other([b"alike", b"alike"]);
    fs::remove_file(dest.at("to")).unwrap();
    fs::hard_link(dest.at("from"), dest.at("to")).unwrap();
    assert_eq!(make(&mut dest, step), Ok(()));
    assert!(!dest.at("from").exists());
    assert_eq!(fs::read(dest.at("to")).unwrap(), b"alike");
}

/// It went with all that was in it.
#[test]
fn a_directory_that_somebody_put_in_place_of_the_file_stays() {
    let (mut dest, step) = one_onto_other([b"moves", b"is replaced"]);
    fs::remove_file(dest.at("to")).unwrap();
    fs::create_dir(dest.at("to")).unwrap();
    fs::write(dest.at("to/theirs"), "theirs").unwrap();
    assert_eq!(make(&mut dest, step), Err(Refusal::WrongKind));
    assert_eq!(fs::read(dest.at("to/theirs")).unwrap(), b"theirs");
    assert_eq!(fs::read(dest.at("from")).unwrap(), b"moves");
}
