-- What stands between scripts and Lua's own library. Run once in a new interpreter, with the functions of Rust's side and
-- the libraries that are written there; gives back what the interpreter works with.
--
-- A script's globals, and every library among them, are empty tables in front of the real ones: reading goes through,
-- writing is refused, and what would show that they are empty (next, pairs, rawget, getmetatable) looks behind them.
local to_lua, handle, is_over, libraries = ...

local byte, error, getmetatable, ipairs, load, loadstring = string.byte, error, getmetatable, ipairs, load, loadstring
local next, pairs, pcall, rawget, rawset, select, setmetatable = next, pairs, pcall, rawget, rawset, select, setmetatable
local tostring, type, xpcall, resume = tostring, type, xpcall, coroutine.resume

local READ_ONLY = "Attempt to modify a readonly table"

-- The real tables, by what stands in front of them.
local real = {}

local function refuse()
    error(READ_ONLY, 2)
end

local function protect(table)
    local front = setmetatable({}, { __index = table, __newindex = refuse })
    real[front] = table
    return front
end

local globals = {}
for _, name in ipairs({
    "_VERSION", "assert", "collectgarbage", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring",
    "type", "unpack",
}) do
    globals[name] = _G[name]
end

local function expect_table(value, name)
    if type(value) ~= "table" then
        error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(value) .. ")", 3)
    end
end

function globals.next(table, key)
    expect_table(table, "next")
    return next(real[table] or table, key)
end

function globals.pairs(table)
    expect_table(table, "pairs")
    return next, real[table] or table, nil
end

function globals.rawget(table, key)
    expect_table(table, "rawget")
    return rawget(real[table] or table, key)
end

function globals.rawset(table, key, value)
    expect_table(table, "rawset")
    if real[table] then
        error(READ_ONLY, 0)
    end
    return rawset(table, key, value)
end

function globals.setmetatable(table, metatable)
    expect_table(table, "setmetatable")
    if real[table] then
        error(READ_ONLY, 0)
    end
    return setmetatable(table, metatable)
end

-- A caught error as scripts know it.
local function settle(is_fine, ...)
    if is_fine then
        return true, ...
    end
    local caught = ...
    if type(caught) == "userdata" then
        caught = to_lua(caught)
    end
    return false, caught
end

-- Of a command's error pcall gives the text.
local function settle_text(is_fine, ...)
    if is_fine then
        return true, ...
    end
    local _, caught = settle(false, ...)
    if type(caught) == "table" and rawget(caught, "err") ~= nil then
        caught = rawget(caught, "err")
    end
    return false, caught
end

function globals.pcall(...)
    return settle_text(pcall(...))
end

function globals.xpcall(called, handler)
    return settle(xpcall(called, function(caught)
        if type(caught) == "userdata" then
            -- Lua looks at no time while a handler runs: one of a script that is to end could go on for ever.
            if is_over() then
                return caught
            end
            caught = to_lua(caught)
        end
        return handler(caught)
    end))
end

-- Bytecode can do what no source can.
local function is_bytecode(chunk)
    return type(chunk) == "string" and byte(chunk, 1) == 27
end

function globals.loadstring(chunk, name)
    if is_bytecode(chunk) then
        return nil, "attempt to load a binary chunk"
    end
    return loadstring(chunk, name)
end

function globals.load(reader, name)
    local is_first = true
    return load(function()
        local piece = reader()
        if is_first and is_bytecode(piece) then
            error("attempt to load a binary chunk", 0)
        end
        is_first = is_first and (piece == nil or piece == "")
        return piece
    end, name)
end

local function copy(table, names)
    local made = {}
    for _, name in ipairs(names) do
        made[name] = table[name]
    end
    return made
end

local tables = {
    string = copy(string, {
        "byte", "char", "dump", "find", "format", "gfind", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse",
        "sub", "upper",
    }),
    table = copy(table, { "concat", "foreach", "foreachi", "getn", "insert", "maxn", "remove", "setn", "sort" }),
    math = copy(math, {
        "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "huge",
        "ldexp", "log", "log10", "max", "min", "mod", "modf", "pi", "pow", "rad", "random", "randomseed", "sin", "sinh",
        "sqrt", "tan", "tanh",
    }),
    coroutine = copy(coroutine, { "create", "resume", "running", "status", "wrap", "yield" }),
    os = copy(os, { "clock" }),
}
function tables.coroutine.resume(...)
    return settle(resume(...))
end
-- These write with raw access, past what stands in front of a library.
for _, name in ipairs({ "insert", "remove", "sort", "setn" }) do
    local original = tables.table[name]
    tables.table[name] = function(table, ...)
        if type(table) ~= "table" then
            error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(table) .. ")", 2)
        elseif real[table] then
            error(READ_ONLY, 0)
        end
        return original(table, ...)
    end
end
for name, library in pairs(libraries) do
    tables[name] = library
end
for name, library in pairs(tables) do
    globals[name] = protect(library)
end

local string_metatable = protect({ __index = globals.string })
local globals_metatable = {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
}
local environment = protect(setmetatable(globals, globals_metatable))
globals._G = environment
local environment_metatable = protect(globals_metatable)
getmetatable("").__index = tables.string

function globals.getmetatable(value)
    if type(value) == "string" then
        return string_metatable
    elseif value == environment then
        return environment_metatable
    elseif real[value] then
        return nil
    end
    return getmetatable(value)
end

-- Runs a script without arguments, or a function with its two; true and what it gives, or false and the error's table.
local function run(called, keys, arguments)
    if keys == nil then
        return xpcall(called, handle)
    end
    return xpcall(function()
        return called(keys, arguments)
    end, handle)
end

return environment, globals, run, protect
