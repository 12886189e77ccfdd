use proptest::prelude::*;

use super::*;

#[test]
fn multiplication_matches_published_values() {
    // FIPS 197, section 4.2: {57} x {83} = {c1} and {57} x {13} = {fe}.
    assert_eq!(multiply(0x57, 0x83), 0xc1);
    assert_eq!(multiply(0x57, 0x13), 0xfe);
    // {53} and {ca} are each other's inverse (the S-box example's pair).
    assert_eq!(multiply(0x53, 0xca), 1);
    // Pairs checked by HashiCorp's own tests of this field.
    assert_eq!(multiply(3, 7), 9);
    assert_eq!(multiply(3, 0), 0);
    assert_eq!(multiply(0, 3), 0);
}

#[test]
fn every_nonzero_element_has_its_inverse() {
    for value in 1..=u8::MAX {
        assert_eq!(multiply(value, invert(value)), 1, "{value}");
    }
    assert_eq!(invert(0), 0);
}

#[test]
fn a_polynomial_is_evaluated_constant_term_first() {
    // 1 + 2x + 3x^2 at 2: 1 ^ 4 ^ (3*4 = 12) = 9.
    assert_eq!(evaluate(&[1, 2, 3], 2), 9);
    assert_eq!(evaluate(&[42, 7, 9], 0), 42);
}

/// Shares computed by hand: with the polynomials 0x54 + 0x03x, 0x65 + 0xf0x the values are
/// at x=1 (0x57, 0x95), at x=2 (0x54^0x06 = 0x52, 0x65^0xfb = 0x9e), and at
/// x=0x80 (0x54^0x9b = 0xcf, …).
#[test]
fn hand_computed_shares_combine() {
    let at_1 = [0x57, 0x95, 0x01];
    let at_2 = [0x52, 0x9e, 0x02];
    let at_128 = [0x54 ^ multiply(0x03, 0x80), 0x65 ^ multiply(0xf0, 0x80), 0x80];
    assert_eq!(at_128[0], 0xcf);
    for pair in [[at_1, at_2], [at_2, at_1], [at_1, at_128], [at_128, at_2]] {
        assert_eq!(*combine(&pair).unwrap(), [0x54, 0x65]);
    }
}

#[test]
fn shares_have_the_coordinate_last_and_all_differ() {
    let shares = split(b"secret", 255, 2).unwrap();
    let mut seen: Vec<u8> = shares.iter().map(|share| share[6]).collect();
    assert!(shares.iter().all(|share| share.len() == 7));
    seen.sort_unstable();
    assert_eq!(seen, (1..=255).collect::<Vec<u8>>());
}

#[test]
fn impossible_splits_are_refused() {
    assert_eq!(split(b"", 3, 2), Err(ShamirError::EmptySecret));
    assert_eq!(split(b"x", 3, 1), Err(ShamirError::ThresholdTooSmall(1)));
    assert_eq!(split(b"x", 3, 0), Err(ShamirError::ThresholdTooSmall(0)));
    assert_eq!(split(b"x", 2, 3), Err(ShamirError::ThresholdAboveParts { threshold: 3, parts: 2 }));
}

#[test]
fn malformed_shares_are_refused() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(combine(&none), Err(ShamirError::TooFewShares(0)));
    assert_eq!(combine(&[vec![1, 2]]), Err(ShamirError::TooFewShares(1)));
    assert_eq!(combine(&[vec![1], vec![2]]), Err(ShamirError::ShareTooShort(0)));
    assert_eq!(combine(&[vec![], vec![2]]), Err(ShamirError::ShareTooShort(0)));
    assert_eq!(
        combine(&[vec![1, 1], vec![2, 2, 2]]),
        Err(ShamirError::LengthMismatch { index: 1, length: 3, expected: 2 })
    );
    assert_eq!(combine(&[vec![1, 1], vec![2, 0]]), Err(ShamirError::ZeroCoordinate(1)));
    assert_eq!(combine(&[vec![1, 7], vec![2, 7]]), Err(ShamirError::DuplicateCoordinate(1)));
}

#[test]
fn a_single_unseal_key_is_the_root_key() {
    let keys = split_unseal_key(&[7; 32], 1, 1).unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(*keys[0], vec![7; 32]);
    assert_eq!(*combine_unseal_keys(&keys).unwrap(), vec![7; 32]);
    assert_eq!(split_unseal_key(&[7; 32], 3, 1), Err(ShamirError::ThresholdTooSmall(1)));
}

/// Below the threshold a share's bytes are uniform: over many splits of one byte every
/// value turns up in one share's place, so nothing is excluded. (A generator that never
/// used a zero coefficient would never show the secret's own value.)
#[test]
fn one_share_says_nothing_about_the_secret() {
    let mut seen = [0_u32; 256];
    for _ in 0..20_000 {
        let shares = split(&[0x2a], 2, 2).unwrap();
        seen[usize::from(shares[0][0])] += 1;
    }
    // 78 expected each; the chance of a value below 20 is under 1e-12.
    assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
}

proptest! {
    #[test]
    fn any_threshold_subset_recovers(
        secret in prop::collection::vec(any::<u8>(), 1..64),
        (parts, threshold) in (2_u8..12).prop_flat_map(|parts| (Just(parts), 2..=parts)),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut shares = split(&secret, parts, threshold).unwrap();
        let start = seed.index(shares.len());
        shares.rotate_left(start);
        let enough = &shares[..usize::from(threshold)];
        prop_assert_eq!(&**combine(enough).unwrap(), &secret[..]);
        prop_assert_eq!(&**combine(&shares).unwrap(), &secret[..]);
    }

    #[test]
    fn fewer_than_the_threshold_do_not(
        secret in prop::collection::vec(any::<u8>(), 16..48),
        threshold in 3_u8..8,
    ) {
        let shares = split(&secret, threshold, threshold).unwrap();
        let too_few = &shares[..usize::from(threshold) - 1];
        // 16 bytes agree by chance once in 2^128.
        prop_assert_ne!(&**combine(too_few).unwrap(), &secret[..]);
    }

    #[test]
    fn arbitrary_input_never_panics(
        shares in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..6),
    ) {
        let _ = combine(&shares);
    }
}
