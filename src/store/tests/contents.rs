//! What is kept of contents, and what of it goes first.

use super::*;

#[test]
fn contents_beyond_the_budget_go_least_recently_stored_first() {
    let cache = Cache::in_memory().expect("memory is there");
    for number in 0..5 {
        cache.store_groups(&hash(number), 1, &vec![1; 40_000], 100_000).expect("it is stored");
    }
    assert_eq!(cache.content_bytes(), 80_000);
    let kept: Vec<u64> = (0..5).filter(|number| cache.groups(&hash(*number)).is_some()).collect();
    assert_eq!(kept, [3, 4]);
    cache.store_groups(&hash(3), 1, &[2; 32], 100_000).expect("it is stored");
    assert_eq!(cache.content_bytes(), 40_032);
    cache.store_groups(&hash(6), 1, &vec![1; 60_000], 100_000).expect("it is stored");
    assert!(cache.groups(&hash(4)).is_none() && cache.groups(&hash(3)).is_some());
    cache.store_groups(&hash(7), 1, &vec![1; 100_001], 100_000).expect("too much is no error");
    assert!(cache.groups(&hash(7)).is_none() && cache.groups(&hash(6)).is_some());
}

#[test]
fn what_is_held_goes_last_however_old_it_is() {
    let cache = Cache::in_memory().expect("memory is there");
    let kept = || (0..5).filter(|number| cache.groups(&hash(*number)).is_some()).collect::<Vec<u64>>();
    for number in 0..5 {
        cache.store_groups(&hash(number), 1, &vec![1; 40_000], PLENTY).expect("it is stored");
    }
    let is_held = |content: &ContentHash| [hash(0), hash(2), hash(3)].contains(content);
    cache.trim_contents(130_000, is_held).expect("it trims");
    assert_eq!((kept(), cache.content_bytes()), (vec![0, 2, 3], 120_000));
    cache.trim_contents(90_000, is_held).expect("it trims");
    assert_eq!((kept(), cache.content_bytes()), (vec![2, 3], 80_000));
    cache.trim_contents(90_000, |_| false).expect("it trims");
    assert_eq!(kept(), [2, 3]);
}

#[test]
fn a_forgotten_content_leaves_nothing() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.store_groups(&hash(1), 77, &[5; 64], PLENTY).expect("groups fit");
    cache.store_signature(&hash(1), &signature(), PLENTY).expect("a signature fits");
    cache.note_holder(&hash(1), &holder(4)).expect("a holder fits");
    cache.forget_content(&hash(1)).expect("it forgets");
    assert_eq!((cache.groups(&hash(1)), cache.signature(&hash(1))), (None, None));
    assert_eq!((cache.holders(&hash(1)).len(), cache.content_bytes()), (0, 0));
}

#[test]
fn an_empty_content_has_an_empty_row() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.store_groups(&hash(1), 0, &[], PLENTY).expect("it is stored");
    assert_eq!(cache.groups(&hash(1)), Some((0, Vec::new())));
}
