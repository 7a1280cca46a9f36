use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A stand-in for ssh: a shell script that gets the login as $1 and the remote line as $2.
fn stand_in(script: &str) -> SshCommand {
    let rsh = vec!["sh".into(), "-c".into(), script.into(), "ssh".into()];
    SshCommand { rsh, ..SshCommand::default() }
}

fn to(path: &str) -> SshDestination {
    SshDestination { user: Some("me".into()), host: "host".into(), path: path.into() }
}

async fn output_of(command: &SshCommand, destination: &SshDestination) -> String {
    let (mut pipe, session) = command.start(destination).unwrap();
    let mut text = String::new();
    pipe.reader.read_to_string(&mut text).await.unwrap();
    drop(pipe);
    session.end().await.unwrap();
    text
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(split_words("ssh -p 22").unwrap(), ["ssh", "-p", "22"]);
    assert_eq!(
        split_words(r#" ssh  -i 'my key' -o "A=b c" x\ y '' "#).unwrap(),
        ["ssh", "-i", "my key", "-o", "A=b c", "x y", ""]
    );
    assert_eq!(split_words(r#"a'\'b"\"" "#).unwrap(), [r#"a\b""#]);
    for text in ["", "  ", "ssh 'x", "ssh \"x", "ssh \\"] {
        assert!(matches!(split_words(text), Err(SshError::Rsh(..))), "{text}");
    }
}

#[tokio::test]
async fn the_far_shell_sees_program_options_and_path_as_single_words() {
    let command = SshCommand {
        options: vec!["--name".into(), "it's $HOME".into()],
        ..stand_in(r#"strait() { for word; do printf '%s\n' "$word"; done; }; eval "$2""#)
    };
    for path in ["dir", "-x", "a b;echo c", "it's \"so\" $(x) `y` *", "line\nbreak"] {
        let expected = format!("serve\n--stdio\n--name\nit's $HOME\n--\n{path}\n");
        assert_eq!(output_of(&command, &to(path)).await, expected);
    }
}

#[tokio::test]
async fn a_home_directory_is_left_to_the_far_shell() {
    let command = stand_in(r#"HOME=/far; strait() { printf '%s' "$4"; }; eval "$2""#);
    assert_eq!(output_of(&command, &to("~/a b")).await, "/far/a b");
    assert_eq!(output_of(&command, &to("~")).await, "/far");
    assert_eq!(output_of(&command, &to("~$(x)/b")).await, "~$(x)/b");
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let (mut pipe, session) = stand_in("cat").start(&to("dir")).unwrap();
    pipe.writer.write_all(b"hello").await.unwrap();
    pipe.writer.flush().await.unwrap();
    let mut bytes = [0; 5];
    pipe.reader.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    drop(pipe);
    session.end().await.unwrap();
}

#[tokio::test]
async fn each_way_to_fail_is_named() {
    let fail = async |script: &str| {
        let (pipe, session) = stand_in(script).start(&to("dir")).unwrap();
        drop(pipe);
        session.end().await.unwrap_err()
    };
    let connect = fail("exit 255").await.to_string();
    assert!(connect.contains("could not connect to me@host"), "{connect}");
    let no_program = fail("exit 127").await;
    assert!(no_program.is_lasting() && no_program.to_string().contains("install strait there"));
    assert!(fail("exit 3").await.to_string().contains("status 3"));
    assert!(fail("kill -9 $$").await.to_string().contains("signal 9"));
}

#[tokio::test]
async fn a_missing_ssh_is_named_with_the_package() {
    let command = SshCommand { rsh: vec!["/nowhere/ssh".into()], ..SshCommand::default() };
    let error = command.start(&to("dir")).map(|_| ()).unwrap_err();
    assert!(matches!(error, SshError::NotFound(_)) && error.to_string().contains("openssh-client"));
}
