-- `lunode cluster`, and the options of `lunode kv` for clusters: real processes on loopback.

local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local redis = require "spec.support.redis"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local SECRET = "correct horse battery staple"

-- ---------------------------------------------------------------- clusters

local methods = {}
local metatable = { __index = methods }

-- Words that start a member, beyond those of any node.
local function words_of(self, id, how)
  local words = { "--id", id, "--cluster-listen", "127.0.0.1:" .. self.ports[id], dir = self.dir .. "/" .. id,
    port = self.clients[id], patient = false, password = self.password, env = {} }
  words.env.LUNODE_CLUSTER_SECRET_FILE = self.secret
  for _, word in ipairs(how) do
    words[#words + 1] = word
  end
  return words
end

function methods:member(id, ...)
  self.ports[id], self.clients[id] = self.ports[id] or ports.free(), self.clients[id] or ports.free()
  self.nodes[id] = lunode.kv(words_of(self, id, { ... }))
  return self.nodes[id]
end

local function start(count, options)
  options = options or {}
  local dir = tmp.dir()
  local self = setmetatable({
    dir = dir, nodes = {}, ports = {}, clients = {}, ids = {}, password = options.password,
    secret = tmp.write(dir .. "/secret", SECRET .. "\n"),
  }, metatable)
  local init = {}
  for i = 1, count do
    local id = "n" .. i
    self.ids[i], self.ports[id] = id, ports.free()
    init[i] = ("%s=127.0.0.1:%d"):format(id, self.ports[id])
  end
  self.init = table.concat(init, ",")
  for _, id in ipairs(self.ids) do
    self:member(id, "--cluster-init", self.init)
  end
  return self
end

function methods:address(id)
  return "127.0.0.1:" .. self.clients[id]
end

-- Runs `lunode cluster …` against a member; returns code, stdout, stderr.
function methods:run(id, ...)
  local words = { "cluster", ... }
  words.env = { LUNODE_NODE = self:address(id), LUNODE_REQUIREPASS = self.password or false }
  words.seconds = 60
  return lunode.run(words)
end

function methods:ok(id, ...)
  local code, out, err = self:run(id, ...)
  assert.same({ 0, "" }, { code, err })
  return out
end

-- What the log of a member says by now.
function methods:logged(id, pattern, seconds)
  wait.till(function()
    return self.nodes[id].process:stderr():find(pattern, 1, true)
  end, seconds or 20, ("%s to log %q, and not %s"):format(id, pattern, self.nodes[id].process:stderr()))
end

function methods:client(id)
  redis.wait_ready("127.0.0.1", self.clients[id], self.nodes[id].process, self.password)
  return self.nodes[id]:client()
end

function methods:call(id, ...)
  local client = self:client(id)
  local reply = client:call(...)
  client:close()
  return reply
end

function methods:leader()
  self:ok(self.alive or "n1", "wait", "leader")
  local out = self:ok(self.alive or "n1", "status", "--format", "json")
  return out:match '"leader":"(%w+)"'
end

local function other(cluster, ...)
  local not_these = table.concat({ ... }, " ")
  for _, id in ipairs(cluster.ids) do
    if not not_these:find(id, 1, true) then
      return id
    end
  end
end

-- ---------------------------------------------------------------- wrong usage

describe("lunode cluster", function()
  local wrong = {
    { "a verb is needed: status, add, promote" },
    { 'unknown verb "stats"; did you mean status?', "stats" },
    { "status: nothing more is needed, and 1 word was given", "status", "n1" },
    { "add: ID and HOST:PORT are needed, and 1 word was given", "add", "n4" },
    { 'add: "here" is not acceptable; give HOST:PORT', "add", "n4", "here" },
    { "promote: ID is needed, and 0 words were given", "promote" },
    { 'unknown option --nod; did you mean --node?', "status", "--nod", "x" },
    { '--node: "x" is not acceptable; give HOST:PORT', "status", "--node", "x" },
    { '--timeout: "0" is not acceptable; give seconds', "wait", "--timeout=0" },
    { '--format: "" is not acceptable; give text or json', "status", "--format" },
    { "--yes takes no value", "recover", "data", "--yes=1" },
  }
  for _, case in ipairs(wrong) do
    it("says what is wrong, in one line: " .. case[1], function()
      local code, out, err = lunode.run { "cluster", table.unpack(case, 2) }
      assert.same({ 2, "" }, { code, out })
      assert.truthy(err:find("lunode: " .. case[1], 1, true), err)
      assert.truthy(err:find "^[^\n]+%(see `lunode help cluster`%)\n$", err)
    end)
  end

  it("says so where no node listens, and where what listens is no member of a cluster", function()
    local code, _, err = lunode.run { "cluster", "status", "--node", "127.0.0.1:1" }
    assert.same({ 1, "lunode: cannot connect to 127.0.0.1:1: Connection refused\n" }, { code, err })
    local node = lunode.kv {}
    code, _, err = lunode.run { "cluster", "status", "--node", "127.0.0.1:" .. node.port }
    assert.same({ 1, "lunode: This instance is no member of a cluster\n" }, { code, err })
  end)
end)

describe("lunode kv, as a member of a cluster", function()
  local listen = { "--listen", "127.0.0.1:0" }
  local refusals = {
    { 2, "--id is for a member of a cluster, which needs --id NAME and --cluster-listen HOST:PORT", "--id=n1" },
    { 2, "--join is for a member of a cluster", "--join", "127.0.0.1:1" },
    { 2, "--cluster-init is for those who found a cluster, --join for those who come later", "--id=n1",
      "--cluster-listen=127.0.0.1:1", "--join=127.0.0.1:2", "--cluster-init=n1=127.0.0.1:1" },
    { 2, "--cluster-init: this member, n3, is not among n1, n2", "--id=n3", "--cluster-listen=127.0.0.1:1",
      "--cluster-init=n1=127.0.0.1:1,n2=127.0.0.1:2" },
    { 2, '--cluster-init: "n1=127.0.0.1:1,n1=127.0.0.1:2" is not acceptable', "--id=n1",
      "--cluster-listen=127.0.0.1:1", "--cluster-init=n1=127.0.0.1:1,n1=127.0.0.1:2" },
    { 2, '--cluster-listen: "127.0.0.1:0" is not acceptable', "--id=n1", "--cluster-listen=127.0.0.1:0" },
    { 2, '--id: "a b" is not acceptable', "--id=a b", "--cluster-listen=127.0.0.1:1" },
    { 2, "--cluster-listen 0.0.0.0:1: other machines reach that, so the members need a secret", "--id=n1",
      "--cluster-listen=0.0.0.0:1" },
    { 2, "--cluster-secret: a secret has at least 16 bytes", "--id=n1", "--cluster-listen=127.0.0.1:1",
      "--cluster-secret=short" },
    { 1, "the secret cannot be read: nowhere: No such file", "--id=n1", "--cluster-listen=127.0.0.1:1",
      "--cluster-secret-file=nowhere" },
  }
  for _, case in ipairs(refusals) do
    it("does not start, and says why: " .. case[2], function()
      local words = { "kv", cwd = tmp.dir() }
      table.move(listen, 1, 2, 2, words)
      table.move(case, 3, #case, #words + 1, words)
      local code, out, err = lunode.run(words)
      assert.same({ case[1], "" }, { code, out })
      assert.truthy(err:find("^lunode: [^\n]+\n$"), err)
      assert.truthy(err:find(case[2], 1, true), err)
    end)
  end

  it("does not take the directory of another kind of node, nor another member's", function()
    local dir = tmp.dir()
    local plain = lunode.kv { dir = dir .. "/plain" }
    plain:client():call("SET", "a", "1")
    plain:stop()
    local function run(words)
      words.cwd = dir
      words[#words + 1] = "--listen=127.0.0.1:0"
      local code, _, err = lunode.run(words)
      assert.equal(1, code)
      return err
    end
    local listens = "--cluster-listen=127.0.0.1:" .. ports.free()
    local err = run { "kv", "--data", "plain", "--id=n1", listens }
    assert.truthy(err:find "plain holds data that are not a cluster's", err)
    local cluster = start(1)
    cluster:call("n1", "SET", "a", "1")
    cluster.nodes.n1:stop()
    local of_n1 = cluster.dir .. "/n1"
    local taken = "--cluster-listen=127.0.0.1:" .. plain.port
    plain:start()
    err = run { "kv", "--data", "fresh", "--id=n1", taken, "--cluster-init=n1=127.0.0.1:1" }
    assert.truthy(err:find "cannot listen on .*: Address already in use %(%-%-cluster%-listen HOST:PORT%)\n$", err)
    assert.truthy(run({ "kv", "--data", of_n1 }):find "belongs to a member of a cluster: give its %-%-id")
    assert.truthy(run({ "kv", "--data", of_n1, "--id=n2", listens }):find "belongs to n1 of the cluster")
    err = run { "kv", "--data", of_n1, "--id=n1", listens, "--cluster-init=n1=127.0.0.1:1" }
    assert.truthy(err:find(("founded by n1=127.0.0.1:%d, and not by n1=127.0.0.1:1"):format(cluster.ports.n1), 1, true),
      err)
  end)
end)

-- ---------------------------------------------------------------- looking after one

describe("lunode cluster, beside three members with a secret and a password", function()
  it("shows, adds, promotes, demotes, removes and transfers, through whichever member", function()
    local c = start(3, { password = "pass" })
    c:ok("n2", "wait")
    assert.same({ ok = "OK" }, c:call("n3", "SET", "k", "v"))

    local leader = c:leader()
    local out = c:ok("n1", "status")
    local columns
    for line in out:gmatch "[^\n]+" do
      if line:find "^ID" or line:find "^n%d" then
        columns = columns or { line:find "ROLE", line:find "ADDRESS", line:find "CLIENTS" }
        for _, at in ipairs { columns[1], columns[3] } do
          assert.truthy(line:sub(at - 1, at):find "^ %S$", out)
        end
      end
    end
    assert.truthy(out:find("^cluster %x+: " .. leader .. " leads in term %d+; 3 voters, quorum 2; committed up to %d"))
    for _, id in ipairs(c.ids) do
      local role = id == leader and "leader" or "follower"
      assert.truthy(out:find(("\n%s +%s +127.0.0.1:%d +127.0.0.1:%d +%%d+ +%%d+ +0 .* ok\n"):format(id, role,
        c.ports[id], c.clients[id])), out)
    end

    c:member("n4", "--join", "127.0.0.1:" .. c.ports[other(c, leader)])
    c:ok("n1", "wait", "n4")
    assert.equal("v", c:call("n4", "GET", "k"))
    assert.equal("n4 is a learner now\n", c:ok("n4", "demote", "n4"))
    local code, _, err = c:run("n1", "wait", "n4", "--timeout", "0.1")
    assert.same({ 1, "lunode: not within 0.1 s: n4 is a learner\n" }, { code, err })
    assert.equal("n4 is a voter now\n", c:ok("n2", "promote", "n4"))
    assert.truthy(c:ok("n3", "remove", "n4"):find "n4 is no member any more")
    assert.truthy(c:ok("n1", "status"):find "\nremoved for good: n4\n")

    c:member("n5")
    redis.wait_ready("127.0.0.1", c.clients.n5, c.nodes.n5.process, c.password)
    code, out = c:run("n5", "status")
    assert.same({ 1, "n5 waits to be added to a cluster\n" }, { code, out })
    assert.truthy(c:ok("n1", "add", "n5", "127.0.0.1:" .. c.ports.n5):find "n5 is a learner now")
    assert.equal("n5 is a voter now\n", c:ok("n1", "promote", "n5"))
    c:ok("n1", "wait")

    local to = other(c, c:leader())
    assert.equal(to .. " leads now\n", c:ok("n1", "transfer", to))
    assert.equal(to, c:leader())
    assert.equal(to .. " leads now\n", c:ok("n1", "transfer", to))

    for _, case in ipairs {
      { "n9 is not a member; add it first", "promote", "n9" }, { "n9 is not a member", "remove", "n9" },
      { "n4 was removed; a server that comes back needs another id", "add", "n4", "127.0.0.1:1" },
      { "n1 is a member already", "add", "n1", "127.0.0.1:1" }, { "n9 is not a voter", "transfer", "n9" },
    } do
      code, out, err = c:run("n1", table.unpack(case, 2))
      assert.same({ 1, "" }, { code, out })
      assert.truthy(err:find("lunode: " .. case[1], 1, true), err)
    end

    c.nodes.n5:kill9()
    wait.till(function()
      code, out = c:run("n1", "status")
      return code == 1 and out:find "\nn5 +%? .* unreachable\n"
    end, 20, "n5 to be missed")
    c.password = "another"
    code, _, err = c:run("n1", "status")
    assert.equal(1, code)
    assert.truthy(err:find "WRONGPASS")
  end)

  it("finds no leader where a majority is gone, and says so", function()
    local c = start(3)
    c:ok("n1", "wait")
    c.nodes.n2:kill9()
    c.nodes.n3:kill9()
    local code, out, err
    wait.till(function()
      code, out, err = c:run("n1", "wait", "leader", "--timeout", "0.3")
      return code == 1
    end, 20, "n1 to step down")
    assert.equal("lunode: not within 0.3 s: there is no leader\n", err)
    assert.equal("", out)
    out = select(2, c:run("n1", "status"))
    assert.truthy(out:find ": no leader is known to n1; 3 voters, quorum 2\n", out)
    code, out, err = c:run("n1", "remove", "n3", "--timeout", "0.3")
    assert.same({ 1, "" }, { code, out })
    assert.truthy(err:find "CLUSTERDOWN", err)
  end)
end)

describe("members that do not belong together", function()
  it("are refused with one line that names them and says what to do; the cluster goes on", function()
    local c = start(3)
    c:ok("n1", "wait")
    local n2 = "127.0.0.1:" .. c.ports.n2
    -- Another secret.
    local right = c.secret
    c.secret = tmp.write(c.dir .. "/other", "another secret, not that one")
    c:member("n7", "--join", n2)
    c:logged("n2", "n7 from 127.0.0.1 is refused: it does not know the secret of this cluster: give each member the")
    c:logged("n7", "refuses this one: it does not know the secret of this cluster")
    c.secret = nil
    c:member("n8", "--join", n2)
    c:logged("n8", "refuses this one: it has no secret, and this member has one: give both the same")
    c.secret = right
    -- An id that is taken, and no data.
    c.ports.taken, c.clients.taken = ports.free(), ports.free()
    c.nodes.taken = lunode.kv(words_of({
      dir = tmp.dir(), ports = { n3 = c.ports.taken }, clients = { n3 = c.clients.taken }, secret = right,
    }, "n3", { "--join", n2 }))
    c:logged("taken", "n3 comes with another disk than before")
    c:logged("n2", "n3 is refused: n3 comes with another disk than before")
    -- Another cluster of the same name and secret.
    local d = start(3)
    d:ok("n1", "wait")
    d:member("n4", "--join", "127.0.0.1:" .. d.ports.n1)
    d:ok("n1", "wait", "n4")
    d:ok("n1", "add", "n6", n2) -- whose member is n2 of the other one
    c:logged("n2", "from 127.0.0.1 is refused: it looks for n6, and this is n2")
    d:ok("n1", "remove", "n6")
    c:ok("n1", "wait")
    assert.same({ ok = "OK" }, c:call("n3", "SET", "k", "v"))
  end)
end)

-- ---------------------------------------------------------------- recover

describe("lunode cluster recover", function()
  it("makes a cluster of the last one that is left, after it has said what may be lost, and asked", function()
    local c = start(3)
    c:ok("n1", "wait")
    for i = 1, 20 do
      assert.same({ ok = "OK" }, c:call("n" .. i % 3 + 1, "SET", "k" .. i, "v" .. i))
    end
    c:ok("n1", "wait")
    local dir = c.dir .. "/n1"
    local code, out, err = lunode.run { "cluster", "recover", dir, "--yes" }
    assert.same({ 1, "" }, { code, out })
    assert.truthy(err:find "in use by process %d+; stop it; only a member that is stopped can be recovered\n$", err)

    for _, id in ipairs(c.ids) do
      c.nodes[id]:kill9()
    end
    code, out, err = lunode.run { "cluster", "recover", dir, stdin = "no\n" }
    assert.equal(1, code)
    assert.truthy(out:find("holds n1 of the cluster %x+, whose other members are n2 %(voter, 127.0.0.1:%d+%), n3"), out)
    assert.truthy(out:find "Its log ends with entry %d+ of term %d+; its last command is of 20%d%d%-", out)
    assert.truthy(out:find "Lost is what the others have acknowledged and this one has not got", out)
    assert.truthy(err:find "nothing was changed: that was no yes", err)

    code, out, err = lunode.run { "cluster", "recover", dir, stdin = "yes\n" }
    assert.same({ 0, "" }, { code, err })
    assert.truthy(out:find "n1 is the only member of the cluster %x+ now%. Start it as before; then let others")
    code, out, err = lunode.run { "cluster", "recover", dir, "--yes" }
    assert.same({ 1, "" }, { code, out })
    assert.truthy(err:find "n1 is its cluster's only voter already: start it", err)

    c.nodes.n1:start()
    c:ok("n1", "wait")
    for i = 1, 20 do
      assert.equal("v" .. i, c:call("n1", "GET", "k" .. i))
    end
    c.nodes.n2:start() -- as if it were still in the old one
    c:logged("n1", "n2 from 127.0.0.1 is refused: it is of another cluster")
    c:member("n4", "--join", "127.0.0.1:" .. c.ports.n1)
    c:ok("n1", "wait", "n4")
    assert.equal("v7", c:call("n4", "GET", "k7"))
  end)

  it("leaves alone what is no member's directory", function()
    local dir = tmp.dir()
    local code, _, err = lunode.run { "cluster", "recover", dir .. "/nowhere", "--yes" }
    assert.equal(1, code)
    assert.truthy(err:find "No such file or directory", err)
    local node = lunode.kv {}
    node:stop()
    code, _, err = lunode.run { "cluster", "recover", node.dir, "--yes" }
    assert.equal(1, code)
    assert.truthy(err:find "is not the directory of a member of a cluster", err)
  end)
end)

-- ---------------------------------------------------------------- rolling restart

-- Writes keys of its own, one after the other, through whichever member answers. Counts what was acknowledged.
local function write_keys(c, name, state)
  local i, n = 0, 1
  while not state.stop do
    local stream = task.connect("127.0.0.1", c.clients[c.ids[n]], { connect_timeout = 1, read_timeout = 8 })
    local answer = stream
    while answer and not state.stop do
      i = i + 1
      answer = stream:write(("SET %s:%d %d\r\n"):format(name, i, i)) and stream:read_line()
      if answer and answer:find "^%+OK" then
        state.acked[#state.acked + 1] = ("%s:%d"):format(name, i)
      else
        state.failed = state.failed + 1
      end
    end
    if stream then
      stream:close()
    else
      task.sleep(0.02)
    end
    n = n % #c.ids + 1
  end
  return true
end

describe("a rolling restart", function()
  it("loses no acknowledged write, with writers on all members, and hands the leadership over", function()
    local c = start(3)
    c:ok("n1", "wait")
    local state = { acked = {}, failed = 0, stop = false }
    local writers = {}
    for i = 1, 6 do
      writers[i] = task.spawn(write_keys, c, "w" .. i, state)
    end
    for _ = 1, os.getenv "LUNODE_FULL" and 10 or 1 do
      for _, id in ipairs(c.ids) do
        local before, led = #state.acked, c:leader() == id
        assert.equal(0, c.nodes[id]:stop())
        if led then
          local next_one = other(c, id)
          c:ok(next_one, "wait", "leader", "--timeout", "1") -- no election timeout has to pass for that
        end
        wait.till(function()
          return #state.acked > before + 20
        end, 20, "writes to go on")
        c.nodes[id]:start()
        c:ok(id, "wait")
      end
    end
    state.stop = true
    for _, writer in ipairs(writers) do
      assert(writer:join(20))
    end
    assert.is_true(#state.acked > 100, #state.acked .. " writes")
    for n = 1, #state.acked, 500 do
      for _, id in ipairs(c.ids) do
        local keys = table.move(state.acked, n, math.min(n + 499, #state.acked), 1, {})
        assert.equal(#keys, c:call(id, "EXISTS", table.unpack(keys)))
      end
    end
  end)
end)
