// npm's influx writes, reads the same back and meets a clear error; see influx-clients.sh.
const assert = require('assert');
const { InfluxDB } = require('influx');

const at = { host: process.env.HOST, port: Number(process.env.PORT), database: 'live' };
const fails = async (work, words) => assert.rejects(work, (error) => String(error.message ?? error).includes(words) || assert.fail(String(error)));

(async () => {
    const ada = new InfluxDB({ ...at, username: 'ada', password: 'pada' });
    await ada.writePoints([{ measurement: 'node', tags: { host: 'a b' }, fields: { v: 1.5, s: 'x"y' }, timestamp: 10 }], { precision: 's' });
    const bob = new InfluxDB({ ...at, username: 'bob', password: 'pbob' });
    const rows = await bob.query('SELECT * FROM node');
    assert.deepStrictEqual([rows.length, rows[0].host, rows[0].s, rows[0].v, rows[0].time.getTime()], [1, 'a b', 'x"y', 1.5, 10000]);
    assert.deepStrictEqual(await bob.getDatabaseNames(), ['live']);
    await fails(bob.writePoints([{ measurement: 'node', fields: { v: 1 } }]), 'not authorized to write to database');
    await fails(new InfluxDB({ ...at, username: 'bob', password: 'wrong' }).query('SHOW MEASUREMENTS'), 'authorization failed');
})().catch((error) => { console.error(error); process.exit(1); });
