//! Rows of the state store, as a damaged or hostile file might hold them: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::delta::blocks::RangeSignature;
use strait::delta::groups::GroupTree;
use strait::model::limits::GROUP_BYTES;

fuzz_target!(|bytes: &[u8]| {
    strait::store::fuzzing::read_as_every_row(bytes);
    if let Ok(signature) = RangeSignature::from_bytes(bytes) {
        assert_eq!(signature.to_bytes(), bytes);
    }
    let Some((size, values)) = bytes.split_first_chunk::<8>() else { return };
    let size = u64::from_le_bytes(*size);
    for size in [size, (values.len() / 32 * GROUP_BYTES) as u64] {
        if let Ok(tree) = GroupTree::parse(size, values.to_vec()) {
            assert_eq!(tree.as_bytes(), values);
            tree.root();
            tree.level(3);
        }
    }
});
