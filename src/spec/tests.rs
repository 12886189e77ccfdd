//! Whole lab files, right and wrong, as users write them.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{Delivery, Engine, MysqlFlavour, Origin, Place, RootRotation, RuntimeChoice, Storage};
use super::*;

mod entries;
mod large;

/// A folder with `lab.yaml`, a usable policy and usable SQL.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(lab: impl AsRef<[u8]>) -> Self {
        let folder = Self(tempfile::Builder::new().prefix("folder").tempdir().unwrap());
        folder.write("lab.yaml", lab);
        folder.write("read.hcl", "path \"database/creds/reader\" {\n  capabilities = [\"read\"]\n}\n");
        folder.write("create.sql", "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}';");
        folder.write("schema.sql", "CREATE TABLE t (i int);");
        folder
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self) -> Result<LabSpec, SpecError> {
        LabSpec::load(&self.0.path().join("lab.yaml"))
    }

    /// The problems as shown, without this run's folder.
    fn report(&self) -> String {
        let error = self.load().expect_err("this lab file is wrong");
        let folder = self.0.path().display().to_string();
        error.render(160, false).replace(&format!("{folder}/"), "")
    }
}

/// A lab with one database, role, policy and AppRole, each with more keys.
fn lab_with(database: &str, role: &str, approle: &str) -> String {
    format!(
        "apiVersion: vaultlab/v1
name: test
databases:
  - name: pg
    engine: postgres
    {database}
roles:
  - name: reader
    database: pg
    creation_statements: create.sql
    {role}
policies:
  - name: read
    file: read.hcl
approles:
  - name: app
    policies: [read]
    {approle}
"
    )
}

#[test]
fn a_minimal_lab_gets_the_defaults() {
    let folder = Folder::new(lab_with("", "", ""));
    let lab = folder.load().unwrap();
    assert_eq!((lab.name.as_str(), lab.runtime), ("test", RuntimeChoice::Auto));
    assert_eq!((lab.vault.key_shares, lab.vault.key_threshold), (5, 3));
    assert_eq!(lab.vault.storage, Storage::File);
    assert_eq!(lab.vault.audit.as_ref().map(|audit| audit.file.as_str()), Some("audit.log"));
    let Origin::File(path) = &lab.origin else { panic!("{:?}", lab.origin) };
    assert!(path.is_absolute() && path.ends_with("lab.yaml"));

    let (database, role) = lab.role("reader").unwrap();
    assert_eq!((database.database.as_str(), database.mount.as_str()), ("pg", "database"));
    assert_eq!(database.root_rotation, RootRotation::Once);
    assert!(database.admin.text.contains("ALTER ROLE \"vault\" CREATEROLE"));
    assert_eq!(role.default_ttl, Duration::from_hours(1));
    assert_eq!(role.max_ttl, Duration::from_hours(24));
    assert!(Path::new(&role.creation_statements.origin).is_absolute());

    let app = &lab.approles[0];
    assert_eq!((app.secret_id_num_uses, &app.deliver), (0, &Delivery::default()));
    let (role_id, secret_id) = app.deliver.paths("app", Path::new("/state"));
    assert_eq!(role_id, Path::new("/state/delivery/app/role_id"));
    assert_eq!(secret_id, Path::new("/state/delivery/app/secret_id"));
    assert!(app.token_ttl > role.default_ttl && app.token_max_ttl > role.max_ttl);
}

#[test]
fn every_key_can_be_set() {
    let text = "
apiVersion: vaultlab/v1
name: full
runtime: process
vault:
  flavour: openbao
  version: 2.40
  image: docker.io/openbao/openbao:2.4
  storage: raft
  key_shares: 1
  audit: {path: trail, file: trail.log}
  port: 8300
databases:
  - name: shop
    engine: mysql
    flavour: mariadb
    image: mariadb:11
    port: 3400
    database: shop_data
    mount: db/shop
    admin: {sql: 'GRANT CREATE USER ON *.* TO ''{{name}}''@''%''; GRANT ALL ON {{database}}.* TO {{name}}'}
    schema:
      - sql: |
          DELIMITER //
          CREATE PROCEDURE p() BEGIN SELECT 1; END//
          DELIMITER ;
    root_rotation: {every: 1h30m}
roles:
  - name: buyer
    database: shop
    creation_statements: {sql: \"CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}' -- one; two\"}
    revocation_statements: {sql: \"DROP USER IF EXISTS '{{username}}'@'%'\"}
    max_ttl: 600
policies:
  - name: p
    hcl: 'path \"db/shop/creds/buyer\" { capabilities = [\"read\"] }'
approles:
  - name: app
    policies: [p, default]
    token_ttl: 1d
    secret_id_ttl: 0
    secret_id_num_uses: 7
    deliver: {role_id: out/id, secret_id: ../secret}
";
    let folder = Folder::new(text);
    let lab = folder.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lab.vault.version.as_deref(), Some("2.40"));
    assert_eq!((lab.vault.key_shares, lab.vault.key_threshold), (1, 1));
    assert_eq!(lab.vault.port, Some(8300));
    let shop = &lab.databases[0];
    assert_eq!(shop.engine, Engine::Mysql(MysqlFlavour::Mariadb));
    assert_eq!((shop.port, shop.mount.as_str()), (Some(3400), "db/shop"));
    assert!(shop.admin.text.ends_with("GRANT ALL ON shop_data.* TO vault"));
    assert_eq!(shop.schema[0].text, "\nCREATE PROCEDURE p() BEGIN SELECT 1; END;\n\n");
    assert_eq!(shop.root_rotation, RootRotation::Every(Duration::from_mins(90)));
    let buyer = &shop.roles[0];
    assert_eq!((buyer.default_ttl, buyer.max_ttl), (Duration::from_mins(10), Duration::from_mins(10)));
    let creation = &buyer.creation_statements.text;
    assert_eq!(creation, "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'");
    let app = &lab.approles[0];
    assert_eq!((app.secret_id_ttl, app.secret_id_num_uses), (Duration::ZERO, 7));
    assert_eq!(app.token_max_ttl, Duration::from_hours(48));
    let root = folder.0.path().canonicalize().unwrap();
    let expected =
        Place::Files { role_id: root.join("out/id"), secret_id: root.parent().unwrap().join("secret") };
    assert_eq!(app.deliver.place, expected);
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let folder = Folder::new(
        "apiVersion: vaultlab/v2
nmae: test
runtime: dokcer
vault:
  flavour: hashicorp
  key_shares: 3
  key_threshold: 5
  port: 70000
databases:
  - name: Main_DB
    engine: postgresql
  - name: pg
    engine: postgres
    flavour: mariadb
    schema: [shema.sql, schema.sql]
    root_rotation: {every: 0s}
  - name: pg
    engine: mysql
    database: mysql
    mount: sys/db
roles:
  - name: reader
    database: gp
    creation_statements: create.sql
    default_ttl: 2h
    max_ttl: 1h
  - name: reader
    database: pg
    creation_statements: missing/create.sql
    default_ttl: soon
    max_ttl: 10000h
  - name: ../up
    database: pg
policies:
  - name: read
    file: broken.hcl
  - name: none
  - name: root
    hcl: 'path \"x\" { capabilities = [\"raed\"] }'
approles:
  - name: app
    policies: [raed, root]
    token_ttl: 1.5s
    secret_id_num_uses: many
    deliver: {role_id: out, secret_id: out}
",
    );
    folder.write("broken.hcl", "path \"a\" {\n  capabilities = [\"read\", \"wirte\"]\n  polices = 1\n}\n");
    insta::assert_snapshot!(folder.report());
}

#[test]
fn sql_is_checked_where_it_stands() {
    let folder = Folder::new(
        "apiVersion: vaultlab/v1
name: test
databases:
  - name: pg
    engine: postgres
    seed: [empty.sql, open.sql]
roles:
  - name: a
    database: pg
    creation_statements: create-a.sql
    revocation_statements:
      sql: |
        DROP ROLE
          \"{{nmae}}\"
  - name: b
    database: pg
    creation_statements: {sql: \"CREATE ROLE \\\"{{name}}\\\"\"}
    revocation_statements: dollar.sql
",
    );
    folder.write("empty.sql", "-- later\n");
    folder.write("open.sql", "SELECT 1;\nSELECT 'never closed;\n");
    folder.write("create-a.sql", "CREATE ROLE x\n  PASSWORD '{{ password }}';\nCOMMENT ON ROLE x IS 'a;b';");
    folder.write("dollar.sql", "DO $$ SELECT '{{name}}'; $$");
    insta::assert_snapshot!(folder.report());
}

#[test]
fn wrong_types_and_shapes() {
    let folder = Folder::new(
        "apiVersion: 1
name: 12
vault: [file]
databases:
  pg: {engine: postgres}
roles:
  - reader
  - name:
    database: pg
    creation_statements: [create.sql]
    proof: {allows: SELECT 1}
approles:
  - name: app
    policies: read
    name: again
",
    );
    insta::assert_snapshot!(folder.report());
}

#[test]
fn no_yaml_at_all() {
    let mut all = Vec::new();
    for (case, text) in [
        ("empty", ""),
        ("comments only", "# nothing\n---\n"),
        ("tab", "apiVersion: vaultlab/v1\nvault:\n\tflavour: auto\n"),
        ("unclosed", "apiVersion: vaultlab/v1\nname: [a\n"),
        ("bad indentation", "apiVersion: vaultlab/v1\nvault:\n    port: 1\n  flavour: auto\n"),
        ("two documents", "apiVersion: vaultlab/v1\n---\napiVersion: vaultlab/v1\n"),
        ("list", "- apiVersion: vaultlab/v1\n"),
        ("scalar", "vaultlab\n"),
        ("merge key", "apiVersion: vaultlab/v1\nname: a\nvault: {<<: {port: 1}}\n"),
        ("unknown anchor", "apiVersion: vaultlab/v1\nname: *other\n"),
        ("no version", "name: a\n"),
        (
            "two ports",
            "apiVersion: vaultlab/v1\nname: a\nvault: {port: 80}\ndatabases:\n  - {name: b, engine: mysql, port: 80}\n",
        ),
        (
            "nothing to reach",
            "apiVersion: vaultlab/v1\nname: a\ndatabases: [{name: postgres, engine: postgres}]\napproles: [{name: x, policies: [y]}, {name: z, policies: []}]\n",
        ),
    ] {
        all.push(format!("--- {case}\n{}\n", Folder::new(text).report()));
    }
    insta::assert_snapshot!(all.concat());
}

#[test]
fn unusable_files() {
    let folder = Folder::new(b"apiVersion: \xff\xfe");
    assert!(folder.report().contains("not a text file"), "{}", folder.report());
    folder.write("lab.yaml", vec![b'#'; 2 * 1024 * 1024]);
    assert!(folder.report().contains("larger than 1 MiB"), "{}", folder.report());
    let missing = LabSpec::load(Path::new("/nowhere/lab.yaml")).unwrap_err();
    assert!(missing.to_string().contains("the file `/nowhere/lab.yaml` does not exist"), "{missing}");
    assert!(missing.to_string().contains("the folder /nowhere does not exist"), "{missing}");
    let here = LabSpec::load(Path::new("quite-another.yaml")).unwrap_err().to_string();
    assert!(here.contains("vaultlab init") && !here.contains("the folder"), "{here}");
    let nothing_near = LabSpec::load(&folder.0.path().join("quite-another.yaml")).unwrap_err().to_string();
    assert!(nothing_near.contains("vaultlab init") && !nothing_near.contains("paths"), "{nothing_near}");
    let near = LabSpec::load(&folder.0.path().join("lab.yml")).unwrap_err();
    assert!(near.to_string().contains("did you mean `lab.yaml`?"), "{near}");
    assert_eq!((near.diagnostics()[0].line, near.diagnostics().len()), (0, 1));
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let good = lab_with("", "", "");
    let lab = Folder::new(&good).load().unwrap();
    for text in [good.replace('\n', "\r\n"), good.replace('\n', "\r"), format!("\u{feff}{good}")] {
        let other = Folder::new(text).load().unwrap();
        assert_eq!((other.databases.len(), &other.approles), (lab.databases.len(), &lab.approles));
    }
    for end in ["\r\n", "\r"] {
        let wrong = format!("\u{feff}apiVersion: vaultlab/v1{end}vault: {{image: \"日本é\", prot: 1}}{end}");
        let error = Folder::new(wrong).load().unwrap_err();
        let found: Vec<_> = error
            .diagnostics()
            .iter()
            .map(|diagnostic| (diagnostic.line, diagnostic.column, diagnostic.offending.as_str()))
            .collect();
        assert_eq!(found, [(2, 16, "\"日本é\""), (2, 23, "prot")]);
    }
}

#[test]
fn a_linked_lab_file_keeps_its_own_folder() {
    let target = Folder::new(lab_with("", "", ""));
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("lab.yaml");
    std::os::unix::fs::symlink(target.0.path().join("lab.yaml"), &link).unwrap();
    let error = LabSpec::load(&link).unwrap_err();
    assert!(error.to_string().contains("the file `create.sql` does not exist"), "{error}");
    for name in ["create.sql", "read.hcl"] {
        std::fs::copy(target.0.path().join(name), folder.path().join(name)).unwrap();
    }
    let lab = LabSpec::load(&link).unwrap();
    assert_eq!(lab.origin, Origin::File(folder.path().canonicalize().unwrap().join("lab.yaml")));
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb =
        vec!["apiVersion: vaultlab/v1\nname: a\nl0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned()];
    for level in 1..12 {
        let previous = format!("*l{}", level - 1);
        let items = vec![previous; 10].join(", ");
        bomb.push(format!("l{level}: &l{level} [{items}]\n"));
    }
    let deep = format!("apiVersion: vaultlab/v1\nname: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    for text in [bomb.concat(), deep] {
        // Written out, the aliases would take longer than any test may.
        let error = Folder::new(text).load().unwrap_err();
        assert_eq!(error.diagnostics().len(), 1);
        let message = &error.diagnostics()[0].message;
        assert_eq!(message, "this is larger or more deeply nested than a lab file can be");
    }
}

#[test]
fn aliases_are_fine() {
    let text = lab_with("schema: &s [schema.sql]\n    seed: *s", "default_ttl: &t 5m", "token_ttl: *t");
    let lab = Folder::new(text).load().unwrap();
    assert_eq!(lab.databases[0].schema, lab.databases[0].seed);
    assert_eq!(lab.approles[0].token_ttl, Duration::from_mins(5));
}

#[test]
fn a_lab_without_a_name_takes_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    for (path, expected) in [("My Shop/vaultlab.yaml", "my-shop"), ("My Shop/lab/vaultlab.yaml", "my-shop")] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "apiVersion: vaultlab/v1\n").unwrap();
        assert_eq!(LabSpec::load(&path).unwrap().name, expected);
    }
}

#[test]
fn discovery_takes_the_nearest_and_never_passes_over_a_wrong_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = || LabSpec::discover(None, folder.path()).map(|lab| lab.name);
    assert_eq!(LabSpec::discover(None, folder.path()).unwrap().origin, Origin::BuiltIn);

    std::fs::create_dir(folder.path().join("lab")).unwrap();
    std::fs::write(folder.path().join(LAB_FILE), "apiVersion: vaultlab/v1\nname: inner\n").unwrap();
    assert_eq!(name().unwrap(), "inner");
    let outer = folder.path().join("vaultlab.yaml");
    std::fs::write(&outer, "apiVersion: vaultlab/v1\nname: outer\n").unwrap();
    assert_eq!(name().unwrap(), "outer");
    std::fs::write(&outer, "apiVersion: vaultlab/v1\nname: [\n").unwrap();
    assert!(name().is_err());
    let given = folder.path().join(LAB_FILE);
    assert_eq!(LabSpec::discover(Some(&given), folder.path()).unwrap().name, "inner");
}

#[test]
fn diagnostics_fit_narrow_terminals() {
    let text = "apiVersion: vaultlab/v1\nname: a\nvault: {flavour: auto, storage: file, \
                key_shares: 5, key_threshold: 3, colour: \u{202e}red\tand 日本語 blue, audit: on}\n";
    let error = Folder::new(text).load().unwrap_err();
    let rendered = error.diagnostics()[0].render(44, false);
    for line in rendered.lines().filter(|line| !line.contains("-->")) {
        let width: usize = unicode_width::UnicodeWidthStr::width(line);
        assert!(width <= 44, "{width}: {line}");
    }
    assert!(!rendered.contains('\u{202e}') && !rendered.contains('\t'));
    let lines: Vec<&str> = rendered.lines().collect();
    let caret_line = lines.iter().position(|line| line.contains("^^^^^^")).unwrap();
    let column = lines[caret_line].find('^').unwrap();
    assert!(lines[caret_line - 1][column..].starts_with("colour"), "{rendered}");
    let coloured = error.render(80, true);
    assert!(coloured.contains("\x1b[1;31merror\x1b[0m"));
}

#[test]
fn a_duration_that_is_too_long_is_named() {
    let text = lab_with("port: 5432", "default_ttl: 300000d", "secret_id_ttl: 1h");
    let error = LabSpec::parse(&text).unwrap_err();
    let told = |diagnostic: &Diagnostic| diagnostic.message == "the duration `300000d` is out of range";
    assert!(error.diagnostics().iter().any(told), "{}", error.render(80, false));
}

/// Text that is nearly a lab file.
fn nearly_a_lab() -> impl Strategy<Value = String> {
    let good = lab_with("port: 5432", "default_ttl: 5m", "secret_id_ttl: 1h");
    let length = good.len();
    (proptest::collection::vec((0..length, ".{0,3}", 0..6_usize), 1..4)).prop_map(move |edits| {
        let mut text = good.clone();
        for (at, insert, remove) in edits {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let end = (at + remove).min(text.len());
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap();
            text.replace_range(at..end, &insert);
        }
        text
    })
}

fn loads_or_explains(text: &str) {
    if let Err(error) = LabSpec::parse(text) {
        assert!(!error.diagnostics().is_empty());
        // YAML ends a line at a lone carriage return too.
        let lines = text.split(['\n', '\r']).count();
        for diagnostic in error.diagnostics() {
            // The parser reports an unexpected end one line past the last.
            assert!(diagnostic.line <= lines + 1, "{diagnostic:?}");
            assert!(!diagnostic.message.is_empty());
            for width in [0, 40, 200] {
                diagnostic.render(width, true);
            }
        }
    }
}

#[test]
fn a_lone_carriage_return_ends_a_line() {
    loads_or_explains("policies:\n  - name: read\n    file: read\r\"approles:\n  - name: app\n");
}

proptest! {
    #[test]
    fn any_text_loads_or_is_explained(text in "\\PC{0,200}") {
        loads_or_explains(&text);
    }

    #[test]
    fn any_yamlish_text_loads_or_is_explained(text in "[a-z:\\-\\[\\]{}&*<!|>'\"#%@,. \n\t0-9]{0,200}") {
        loads_or_explains(&text);
    }

    #[test]
    fn nearly_right_labs_load_or_are_explained(text in nearly_a_lab()) {
        loads_or_explains(&text);
    }
}

#[test]
fn names_that_would_share_environment_variables_are_told_together() {
    let text = lab_with("", "", "").replace("policies:\n", "  - name: read.er\n    database: pg\n    creation_statements: create.sql\n  - name: read-er\n    database: pg\n    creation_statements: create.sql\npolicies:\n");
    let report = Folder::new(text).report();
    assert!(
        report.contains("`read.er` and `read-er` would have the same environment variables, READ_ER_…"),
        "{report}"
    );
    assert_eq!(report.matches("error").count(), 1, "{report}");
}

#[test]
fn policies_of_the_lab_s_own_tokens_are_reserved() {
    let text = lab_with("", "", "")
        .replace("name: read\n    file", "name: vaultlab-operator\n    file")
        .replace("[read]", "[vaultlab-operator]");
    let report = Folder::new(text).report();
    assert!(report.contains("this program's own"), "{report}");
}

#[test]
fn static_roles_are_checked() {
    let role = |name: &str, username: &str, more: &str| {
        format!("  - {{name: {name}, database: pg, username: {username}{more}}}\n")
    };
    let file = |roles: &[String]| {
        Folder::new(
            lab_with("break_glass: on", "default_ttl: 1h", "token_ttl: 2h")
                + "static_roles:\n"
                + &roles.concat(),
        )
    };
    let lab = file(&[role("batch", "batch", ", rotation_period: 5s, grants: {sql: 'GRANT a TO {{name}}'}")]);
    let lab = lab.load().unwrap();
    let (database, batch) = lab.static_role("batch").unwrap();
    assert!(database.break_glass);
    assert_eq!(batch.rotation_period, Duration::from_secs(5));
    assert_eq!(batch.grants.as_ref().unwrap().text, "GRANT a TO batch");
    assert_eq!(batch.credential_path(database), "database/static-creds/batch");

    let report = file(&[
        role("reader", "one", ""),
        role("two", "vault", ""),
        role("three", "one", ", rotation_period: 4s"),
        role("four", "v-four", ", rotation_statements: {sql: 'ALTER ROLE {{name}}'}"),
    ])
    .report();
    for told in [
        "the role name `reader` is used twice",
        "the account `vault` belongs to the server or to Vault",
        "two static roles have the account `one`",
        "not rotate a static role more often than every 5 seconds",
        "the account `v-four` belongs to the server or to Vault",
        "these statements lack {{password}}",
    ] {
        assert!(report.contains(told), "{told} is not in\n{report}");
    }
}

#[test]
fn deliveries_are_checked() {
    let with = |deliver: &str| {
        Folder::new(lab_with("port: 5432", "default_ttl: 1h", &format!("deliver: {deliver}")))
    };
    let wrapped = with("{wrap_ttl: 5m}").load().unwrap();
    let expected = Delivery { wrap_ttl: Some(Duration::from_mins(5)), ..Delivery::default() };
    assert_eq!(wrapped.approles[0].deliver, expected);
    for (deliver, told) in [
        ("{role_id: a}", "`deliver` lacks `secret_id`"),
        ("{owner: root}", "nobody else may enter the lab's state folder"),
        ("{role_id: a, secret_id: b, owner: no-such-user}", "this host has no user `no-such-user`"),
        ("{role_id: a, secret_id: b, owner: 'root:no-such-group'}", "this host has no group `no-such-group`"),
        ("{wrap_ttl: 0}", "`wrap_ttl` must be at least 1s"),
        ("{role_id: a, secret_id: ./x/../lab.yaml}", "`./x/../lab.yaml` is this lab file"),
        ("{role_id: read.hcl, secret_id: b}", "`read.hcl` is a file the lab is made of"),
        ("{role_id: a, secret_id: create.sql}", "`create.sql` is a file the lab is made of"),
    ] {
        let report = with(deliver).report();
        assert!(report.contains(told), "{told} is not in\n{report}");
    }
    let other = with("{role_id: a, secret_id: b, owner: '54321:54321'}").load();
    assert_eq!(other.is_ok(), nix::unistd::geteuid().is_root(), "only root gives files away");
}
