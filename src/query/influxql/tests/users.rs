use super::world::World;

fn world() -> World {
    let world = World::new();
    world.ask("", "CREATE DATABASE d; CREATE DATABASE e", None);
    world
}

#[test]
fn users_and_grants_are_those_of_influxdb() {
    world().check(&[
        ("SHOW USERS", "[user,admin]"),
        ("CREATE USER \"\" WITH PASSWORD 'p'", "ERROR username required"),
        ("CREATE USER zoe WITH PASSWORD ''", "ERROR a password has 1 to 1024 bytes"),
        ("CREATE USER zoe WITH PASSWORD 'p'", ""),
        ("CREATE USER ada WITH PASSWORD 'q' WITH ALL PRIVILEGES", ""),
        ("SHOW USERS", "[user,admin] zoe,false ada,true"),
        ("CREATE USER zoe WITH PASSWORD 'p'", ""),
        ("CREATE USER zoe WITH PASSWORD 'other'", "ERROR user already exists"),
        ("CREATE USER zoe WITH PASSWORD 'p' WITH ALL PRIVILEGES", "ERROR user already exists"),
        ("SET PASSWORD FOR zoe = 'other'", ""),
        ("CREATE USER zoe WITH PASSWORD 'other'", ""),
        ("CREATE USER zoe WITH PASSWORD 'p'", "ERROR user already exists"),
        ("SET PASSWORD FOR bob = 'x'", "ERROR user not found"),
        ("GRANT ALL TO zoe", ""),
        ("REVOKE ALL PRIVILEGES FROM ada", ""),
        ("SHOW USERS", "[user,admin] zoe,true ada,false"),
        ("GRANT ALL TO bob", "ERROR user not found"),
        ("REVOKE ALL PRIVILEGES FROM bob", "ERROR user not found"),
        ("SHOW GRANTS FOR ada", "[database,privilege]"),
        ("GRANT READ ON d TO ada", ""),
        ("GRANT ALL ON e TO ada", ""),
        ("SHOW GRANTS FOR ada", "[database,privilege] d,READ e,ALL PRIVILEGES"),
        // As in 1.x the last one counts.
        ("GRANT WRITE ON d TO ada", ""),
        ("REVOKE READ ON e FROM ada", ""),
        ("SHOW GRANTS FOR ada", "[database,privilege] d,WRITE e,WRITE"),
        ("REVOKE WRITE ON d FROM ada", ""),
        ("REVOKE ALL ON e FROM ada", ""),
        ("SHOW GRANTS FOR ada", "[database,privilege] d,NO PRIVILEGES e,NO PRIVILEGES"),
        ("GRANT READ ON nope TO ada", "ERROR database not found: nope"),
        ("GRANT READ ON d TO bob", "ERROR user not found"),
        ("REVOKE READ ON d FROM bob", "ERROR user not found"),
        ("REVOKE READ ON nope FROM ada", "ERROR database not found: nope"),
        ("SHOW GRANTS FOR bob", "ERROR user not found"),
        (
            "GRANT ALL ON d TO ada; DROP DATABASE d; CREATE DATABASE d; SHOW GRANTS FOR ada",
            " ;  ;  ; [database,privilege] e,NO PRIVILEGES",
        ),
        ("DROP USER ada", ""),
        ("DROP USER ada", "ERROR user not found"),
        ("SHOW GRANTS FOR ada", "ERROR user not found"),
        ("SHOW USERS", "[user,admin] zoe,true"),
    ]);
}

#[test]
fn nobody_makes_the_first_administrator_and_no_other() {
    let mut world = world();
    world.request.by_nobody = true;
    world.check(&[
        ("CREATE USER ada WITH PASSWORD 'p' WITH ALL PRIVILEGES", ""),
        (
            "CREATE USER eve WITH PASSWORD 'p' WITH ALL PRIVILEGES",
            "ERROR create admin user: there is one by now, who has to be asked",
        ),
        ("SHOW USERS", "[user,admin] ada,true"),
    ]);
}

#[test]
fn where_passwords_are_asked_for_an_administrator_stays() {
    let mut world = world();
    world.context.users.guarded = true;
    world.check(&[
        ("CREATE USER ada WITH PASSWORD 'p' WITH ALL PRIVILEGES", ""),
        ("CREATE USER zoe WITH PASSWORD 'p'", ""),
        ("DROP USER ada", "ERROR \"ada\" is the last admin user: make another one first"),
        ("REVOKE ALL PRIVILEGES FROM ada", "ERROR \"ada\" is the last admin user: make another one first"),
        ("GRANT ALL TO zoe", ""),
        ("DROP USER ada", ""),
        ("DROP USER zoe", "ERROR \"zoe\" is the last admin user: make another one first"),
    ]);
}

#[test]
fn users_survive_a_restart() {
    let world = world();
    world.check(&[("CREATE USER ada WITH PASSWORD 'p'", ""), ("GRANT READ ON d TO ada", "")]);
    let world = world.restart();
    world.check(&[
        ("SHOW USERS", "[user,admin] ada,false"),
        ("SHOW GRANTS FOR ada", "[database,privilege] d,READ"),
        ("CREATE USER ada WITH PASSWORD 'p'", ""),
        ("CREATE USER ada WITH PASSWORD 'q'", "ERROR user already exists"),
    ]);
}
