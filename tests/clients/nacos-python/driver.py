"""nacos-sdk-python, unmodified, behind one line of JSON per call.

{"id":1,"op":"register",...} in, {"id":1,"ok":...} or {"id":1,"error":"..."} out. The end of the input ends the process
without deregistering anything.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading

from v2.nacos import (
    ClientConfigBuilder,
    ConfigParam,
    DeregisterInstanceParam,
    ListInstanceParam,
    ListServiceParam,
    NacosConfigService,
    NacosNamingService,
    RegisterInstanceParam,
    SubscribeServiceParam,
)

# Libraries may print: standard output belongs to the answers.
OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
WRITING = threading.Lock()
CLIENTS = {}
SEEN = {}
HEARD = {}
LOCK = asyncio.Lock()


async def client(kind, make, addr):
    async with LOCK:
        if (kind, addr) not in CLIENTS:
            folder = tempfile.mkdtemp()
            config = (
                ClientConfigBuilder()
                .server_address(addr)
                .log_dir(folder)
                .cache_dir(folder)
                .username("nacos")
                .password("nacos")
                .build()
            )
            CLIENTS[(kind, addr)] = await make(config)
        return CLIENTS[(kind, addr)]


async def naming(c):
    return await client("naming", NacosNamingService.create_naming_service, c["addr"])


async def configs(c):
    return await client("config", NacosConfigService.create_config_service, c["addr"])


def hosts(instances):
    return sorted(f"{it.ip}:{it.port}" for it in instances if it.healthy and it.enabled)


async def register(c):
    return await (await naming(c)).register_instance(
        RegisterInstanceParam(
            service_name=c["service"],
            group_name=c["group"],
            ip=c["ip"],
            port=c["port"],
            weight=1.0,
            metadata=c.get("metadata") or {},
            enabled=True,
            healthy=True,
            ephemeral=True,
        )
    )


async def deregister(c):
    return await (await naming(c)).deregister_instance(
        DeregisterInstanceParam(
            service_name=c["service"], group_name=c["group"], ip=c["ip"], port=c["port"], ephemeral=True
        )
    )


async def list_instances(c):
    param = ListInstanceParam(service_name=c["service"], group_name=c["group"], subscribe=False, healthy_only=True)
    return hosts(await (await naming(c)).list_instances(param))


async def services(c):
    param = ListServiceParam(namespace_id="", group_name=c["group"], page_no=1, page_size=100)
    return list((await (await naming(c)).list_services(param)).services)


async def subscribe(c):
    async def told(instances):
        SEEN[c["service"]] = hosts(instances)

    param = SubscribeServiceParam(service_name=c["service"], group_name=c["group"], subscribe_callback=told)
    await (await naming(c)).subscribe(param)
    return True


async def publish(c):
    param = ConfigParam(data_id=c["data"], group=c["group"], content=c["content"])
    return await (await configs(c)).publish_config(param)


async def get(c):
    return await (await configs(c)).get_config(ConfigParam(data_id=c["data"], group=c["group"]))


async def remove(c):
    return await (await configs(c)).remove_config(ConfigParam(data_id=c["data"], group=c["group"]))


async def listen(c):
    async def told(tenant, group, data_id, content):
        HEARD.setdefault(data_id, []).append(content)

    await (await configs(c)).add_listener(c["data"], c["group"], told)
    return True


async def seen(c):
    return SEEN.get(c["service"])


async def heard(c):
    return HEARD.get(c["data"])


OPERATIONS = {
    "register": register,
    "deregister": deregister,
    "list": list_instances,
    "services": services,
    "subscribe": subscribe,
    "seen": seen,
    "publish": publish,
    "get": get,
    "remove": remove,
    "listen": listen,
    "heard": heard,
}


async def answer(c):
    try:
        line = {"id": c["id"], "ok": await OPERATIONS[c["op"]](c)}
    except Exception as problem:  # whatever a library throws is the answer
        line = {"id": c["id"], "error": f"{type(problem).__name__}: {problem}"}
    with WRITING:
        OUT.write(json.dumps(line) + "\n")


def main():
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    for line in sys.stdin:
        asyncio.run_coroutine_threadsafe(answer(json.loads(line)), loop)
    os._exit(0)


main()
