use super::*;
use std::net::SocketAddr;

const KEY: PublicKey = PublicKey([1; 32]);
const OTHER: PublicKey = PublicKey([2; 32]);
const ROOT: [u8; 16] = [9; 16];

fn scratch() -> (tempfile::TempDir, Places) {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    (dir, places)
}

fn gather(places: &Places, server_keys: &[PublicKey], ticket: Option<&Ticket>) -> ClientTrust {
    let identity = Identity::load(None, places).unwrap();
    ClientTrust::gather(places, &identity, "host:5000", server_keys, ticket, KeyExchange::X25519).unwrap()
}

#[test]
fn a_learned_server_is_known_under_its_address_only() {
    let (_dir, places) = scratch();
    let servers = KnownServers::of(&places);
    assert_eq!(servers.find("host:5000").unwrap(), None);
    servers.learn("host:5000", KEY).unwrap();
    servers.learn("host:5001", OTHER).unwrap();
    assert_eq!(servers.find("HOST:5000").unwrap(), Some(KEY));
    servers.learn("host:5000", OTHER).unwrap();
    assert_eq!(servers.find("host:5000").unwrap(), Some(OTHER));
}

#[test]
fn clients_are_added_once_listed_and_removed() {
    let (_dir, places) = scratch();
    let clients = AuthorisedClients::of(&places, &ROOT);
    clients.add(KEY, "the laptop\nof mine").unwrap();
    clients.add(KEY, "again").unwrap();
    clients.add(OTHER, "").unwrap();
    assert_eq!(clients.list().unwrap(), [(KEY, "the laptop of mine".into()), (OTHER, String::new())]);
    assert!(clients.remove(&KEY).unwrap() && !clients.remove(&KEY).unwrap());
    assert!(!clients.contains(&KEY).unwrap());
    assert!(!AuthorisedClients::of(&places, &[8; 16]).contains(&OTHER).unwrap());
}

#[test]
fn nothing_is_trusted_at_first() {
    let (_dir, places) = scratch();
    assert!(!gather(&places, &[], None).accepts(&KEY));
}

#[test]
fn a_ticket_teaches_the_servers_key() {
    let (_dir, places) = scratch();
    let ticket = Ticket::new(KEY);
    let trust = gather(&places, &[], Some(&ticket));
    assert_eq!(trust.origin(&KEY), Some(Origin::Ticket));
    assert_eq!(trust.secret_for(&KEY), Some(ticket.secret.0));
    assert!(trust.remember(&places, &KEY).unwrap());
    let later = gather(&places, &[], None);
    assert_eq!(later.origin(&KEY), Some(Origin::Known));
    assert_eq!(later.secret_for(&KEY), None);
    assert!(!later.remember(&places, &KEY).unwrap());
}

#[test]
fn a_pinned_key_shuts_all_others_out() {
    let (_dir, places) = scratch();
    KnownServers::of(&places).learn("host:5000", OTHER).unwrap();
    let trust = gather(&places, &[KEY], Some(&Ticket::new(OTHER)));
    assert!(trust.accepts(&KEY) && !trust.accepts(&OTHER));
}

#[test]
fn a_pinned_server_of_the_same_user_still_gets_its_secret() {
    let (_dir, places) = scratch();
    let file = Endpoint::announce(&places, KEY, SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
    let trust = gather(&places, &[KEY], None);
    assert_eq!(trust.secret_for(&KEY), Some(file.endpoint().secret.0));
}

#[test]
fn a_stranger_is_refused_with_both_ways_in() {
    let (_dir, places) = scratch();
    let mut door = Door::new(places, KEY, &ROOT);
    let error = door.admit(&OTHER, None, Instant::now()).unwrap_err();
    let text = error.text_for_client();
    assert!(text.contains("--authorize strait-ed25519:") && text.contains("ticket"), "{text}");
    assert!(text.len() <= crate::model::limits::TEXT_BYTES);
}

#[test]
fn a_ticket_lets_one_client_in_for_good() {
    let (_dir, places) = scratch();
    let mut door = Door::new(places, KEY, &ROOT);
    let now = Instant::now();
    let ticket = door.issue(now).secret.0;
    assert_eq!(door.admit(&OTHER, Some(&ticket), now).unwrap(), Admission::Ticket);
    assert_eq!(door.admit(&OTHER, Some(&ticket), now).unwrap(), Admission::Authorised);
    assert!(matches!(door.admit(&PublicKey([3; 32]), Some(&ticket), now), Err(DoorError::Ticket(_))));
}

#[test]
fn the_same_user_comes_in_by_own_key_or_by_any_endpoint_file() {
    let (_dir, places) = scratch();
    let mut door = Door::new(places.clone(), KEY, &ROOT);
    assert_eq!(door.admit(&KEY, None, Instant::now()).unwrap(), Admission::SameUser);
    let file = Endpoint::announce(&places, KEY, SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
    let secret = file.endpoint().secret.0;
    assert_eq!(door.admit(&OTHER, Some(&secret), Instant::now()).unwrap(), Admission::SameUser);
    drop(file);
    assert!(door.admit(&OTHER, Some(&secret), Instant::now()).is_err());
}

#[test]
fn an_authorised_key_needs_nothing_else_until_it_is_removed() {
    let (_dir, places) = scratch();
    let mut door = Door::new(places, KEY, &ROOT);
    door.clients().add(OTHER, "").unwrap();
    assert_eq!(door.admit(&OTHER, None, Instant::now()).unwrap(), Admission::Authorised);
    door.clients().remove(&OTHER).unwrap();
    assert!(door.admit(&OTHER, None, Instant::now()).is_err());
}

#[test]
fn a_list_that_cannot_be_used_lets_nobody_in() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, places) = scratch();
    let (server, client) = (PublicKey([1; 32]), PublicKey([2; 32]));
    let mut door = Door::new(places.clone(), server, &[7; 16]);
    door.clients().add(client, "").unwrap();
    assert_eq!(door.admit(&client, None, Instant::now()).unwrap(), Admission::Authorised);
    let list = std::fs::read_dir(places.config.join("clients")).unwrap().next().unwrap().unwrap().path();
    for mode in [0o644, 0o620] {
        std::fs::set_permissions(&list, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(door.admit(&client, None, Instant::now()), Err(DoorError::List(_))), "{mode:o}");
        // Not by a ticket either: it could not be noted.
        let ticket = door.issue(Instant::now());
        assert!(door.admit(&client, Some(&ticket.secret.0), Instant::now()).is_err(), "{mode:o}");
    }
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir(&list).unwrap();
    assert!(matches!(door.admit(&client, None, Instant::now()), Err(DoorError::List(_))));
    std::fs::remove_dir(&list).unwrap();
    assert!(matches!(door.admit(&client, None, Instant::now()), Err(DoorError::NotAuthorised(_))));
}

#[test]
fn what_the_client_is_told_holds_no_path_of_the_server() {
    let (dir, places) = scratch();
    let mut door = Door::new(places.clone(), KEY, &ROOT);
    door.clients().add(OTHER, "").unwrap();
    let list = places.config.join("clients").join("09".repeat(16));
    std::fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = door.admit(&OTHER, None, Instant::now()).unwrap_err();
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
    assert!(!error.text_for_client().contains(dir.path().to_str().unwrap()));
}
